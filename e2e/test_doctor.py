"""`larder doctor -f`: each step of a source is broken for real, and the doctor must name it, with the remedy."""

import email.utils
import http.server
import json
import os
import re
import socket
import subprocess
import threading
import time

import pytest

from harness import ROOT, build_dir, file_dataset, free_port
from test_stores import KEYS, no_keys, start  # noqa: F401  no_keys is a fixture
from web import Web, nginx, web_dataset

NO_PROXY = {"http_proxy": "", "https_proxy": "", "all_proxy": ""}


def doctor(folder, yaml, *options, code, text=False):
    """Its report as JSON: one object for each source."""
    (folder / "d.yaml").write_text(yaml)
    done = subprocess.run([build_dir() / "bin/larder", "doctor", "-f", folder / "d.yaml", *options,
                           *([] if text else ["--output", "json"])],
                          capture_output=True, text=True, timeout=120, env={**os.environ, **NO_PROXY}, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr if text else json.loads(done.stdout)


def steps(report):
    return [(s["step"], s["finding"]) for s in report["steps"]]


def fails_at(report, step, words, remedy):
    """Only the last step failed, and says why."""
    last = report["steps"][-1]
    assert (last["step"], last["finding"]) == (step, "failed"), report
    assert all(s["finding"] == "ok" for s in report["steps"][:-1]), report
    assert words in last["detail"], last
    assert remedy in last["remedy"], last
    assert "\n" not in last["detail"]


def s3(endpoint, extra="", keys=KEYS, bucket="bucket"):
    who = "anonymous: true" if keys is None else "secretRef: {name: keys}"
    secret = "" if keys is None else f"""---
apiVersion: v1
kind: Secret
metadata: {{name: keys}}
stringData: {{AWS_ACCESS_KEY_ID: {keys[0]}, AWS_SECRET_ACCESS_KEY: {keys[1]}}}
"""
    return f"""apiVersion: larder.dev/v1alpha1
kind: Dataset
metadata: {{name: data}}
spec:
  sources:
    - mountPath: /
      s3: {{bucket: {bucket}, endpoint: "{endpoint}"{extra}}}
      {who}
{secret}"""


@pytest.fixture
def store(folder):
    one = start("versitygw", folder)
    one.put("dir/a", b"x" * 100000)
    one.put("dir/empty", b"")
    yield one
    one.stop()


@pytest.fixture
def web(folder):
    if not nginx():
        pytest.skip("needs nginx: apt-get install nginx-light")
    one = Web(folder / "web")
    (one.www / "a").write_bytes(b"a" * 1000)
    yield one
    one.stop()


def test_a_good_bucket_is_good_in_every_step(store, folder):
    report, = doctor(folder, s3(store.endpoint), code=0)
    assert steps(report) == [(s, "ok") for s in ("dns", "tcp", "clock", "credentials", "list", "get")]
    assert report["good"] and (report["dataset"], report["source"]) == ("default/data", 0)
    text = doctor(folder, s3(store.endpoint), code=0, text=True)
    assert "default/data source 0 (s3://bucket/)" in text and '"dir/a" was read' in text


def test_keys_by_secret_file(store, folder):
    (folder / "keys").write_text(f"AWS_ACCESS_KEY_ID={KEYS[0]}\nAWS_SECRET_ACCESS_KEY={KEYS[1]}\n")
    yaml = s3(store.endpoint).split("---")[0]
    report, = doctor(folder, yaml, code=1)
    fails_at(report, "credentials", 'Secret "keys" is in none of these files', "--secret NAME=FILE")
    report, = doctor(folder, yaml, "--secret", f"keys={folder}/keys", code=0)
    assert report["good"]


def test_a_name_that_no_server_knows(folder):
    report, = doctor(folder, s3("http://nowhere.invalid:9000"), code=1)
    fails_at(report, "dns", "resolve", "name servers")


def test_a_port_where_nobody_listens(folder):
    report, = doctor(folder, s3(f"http://127.0.0.1:{free_port()}"), code=1)
    fails_at(report, "tcp", "connect", "check the port")


def test_a_server_that_accepts_and_says_nothing(folder):
    with socket.create_server(("127.0.0.1", 0)) as s:
        report, = doctor(folder, s3(f"http://127.0.0.1:{s.getsockname()[1]}"), code=1)
    fails_at(report, "tcp", "no byte came", "does not answer as a web server does")


def test_a_certificate_of_a_ca_that_nobody_trusts(store, folder):
    web = Web(folder / "web", behind=int(store.endpoint.rsplit(":", 1)[1]))
    try:
        report, = doctor(folder, s3(web.tls), code=1)
        fails_at(report, "tls", "certificate", "s3.caSecretRef")
        (folder / "ca").write_text(f"ca.crt=@{web.folder}/ca.pem\n")
        report, = doctor(folder, s3(web.tls, ", caSecretRef: {name: ca}"), "--secret", f"ca={folder}/ca", code=0)
        assert ("tls", "ok") in steps(report)
        report, = doctor(folder, s3(web.tls.replace("https", "http")), code=1)  # the other way round
        assert not report["good"]
    finally:
        web.stop()


def test_tls_asked_of_a_server_without(store, folder):
    report, = doctor(folder, s3(store.endpoint.replace("http:", "https:")), code=1)
    fails_at(report, "tls", "", "is it https?")


class WrongClock(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response_only(403)
        self.send_header("Date", email.utils.formatdate(time.time() + self.server.ahead, usegmt=True))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("ahead, finding, words", [(3600, "failed", "s ahead"), (-1200, "failed", "s behind"),
                                                   (400, "warning", "s ahead"), (3, "ok", "s ahead")])
def test_clocks_that_differ(folder, ahead, finding, words):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WrongClock)
    server.ahead = ahead
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        report, = doctor(folder, s3(f"http://127.0.0.1:{server.server_port}"), code=1)
        step = next(s for s in report["steps"] if s["step"] == "clock")
        assert step["finding"] == finding and words in step["detail"], step
        assert (step["remedy"] != "") == (finding != "ok")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("keys, words, remedy", [
    ((KEYS[0], "n0t-th3-key"), "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
    (("nobody", "n0t-th3-key"), "XAdminUserNotFound", "AWS_ACCESS_KEY_ID"),
])
def test_wrong_keys(store, folder, keys, words, remedy):
    report, = doctor(folder, s3(store.endpoint, keys=keys), code=1)
    fails_at(report, "credentials", words, remedy)
    assert keys[1] not in json.dumps(report)


def test_no_keys_anywhere(store, folder, no_keys):  # noqa: F811
    no_keys.setenv("HOME", str(folder))
    yaml = s3(store.endpoint, keys=None).replace("      anonymous: true\n", "")
    report, = doctor(folder, yaml, code=1)
    fails_at(report, "credentials", "no keys in the environment", "secretRef")


def test_a_bucket_that_is_not_there(store, folder):
    report, = doctor(folder, s3(store.endpoint, bucket="other"), code=1)
    fails_at(report, "list", "NoSuchBucket", "check bucket")


def allow(store, *actions):
    store.client.put_bucket_policy(Bucket="bucket", Policy=json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": list(actions),
         "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"]}]}))


def test_who_may_get_but_not_list(store, folder):
    allow(store, "s3:GetObject")
    report, = doctor(folder, s3(store.endpoint, keys=None), code=1)
    fails_at(report, "list", "AccessDenied", "s3:ListBucket")


def test_who_may_list_but_not_get(store, folder):
    allow(store, "s3:ListBucket")
    report, = doctor(folder, s3(store.endpoint, keys=None), code=1)
    fails_at(report, "get", "AccessDenied", "s3:GetObject")
    assert "dir/a" in report["steps"][-1]["detail"]
    allow(store, "s3:ListBucket", "s3:GetObject")
    report, = doctor(folder, s3(store.endpoint, keys=None), code=0)
    assert report["good"]


def test_a_prefix_with_nothing_below_it_is_a_warning(store, folder):
    report, = doctor(folder, s3(store.endpoint, ", prefix: none/"), code=0)
    assert report["steps"][-1]["finding"] == "warning" and "prefix" in report["steps"][-1]["remedy"]


def test_an_endpoint_that_speaks_no_s3(web, folder):
    report, = doctor(folder, s3(web.url), code=1)
    assert report["steps"][-1]["step"] == "list" and report["steps"][-1]["finding"] == "failed", report


# ---- web servers ----

@pytest.mark.parametrize("where, index", [("/json/", "Nginx"), ("/html/", "Auto"), ("/a", "Single"), ("/l", "List")])
def test_web_servers_by_index_kind(web, folder, where, index):
    (web.www / "l").write_text("#larder-list 1\nx\ta\n")
    report, = doctor(folder, web_dataset(web.url + where, index), code=0)
    assert steps(report) == [(s, "ok") for s in ("dns", "tcp", "clock", "credentials", "list", "get")]


@pytest.mark.parametrize("where, index, step, words, remedy", [
    ("/private/", "", "credentials", "HTTP 401", "by secretRef"),
    ("/none.bin", "Single", "list", "HTTP 404", "check http.url"),
    ("/none/", "", "list", "HTTP 404", "check http.url"),
    ("/a", "List", "list", "list", "http.index fits"),
    ("/circle/", "", "list", "over 5 redirects", "http.url"),
    ("/busy/", "", "list", "HTTP 503", "in trouble"),
])
def test_what_a_web_server_refuses(web, folder, where, index, step, words, remedy):
    report, = doctor(folder, web_dataset(web.url + where, index), code=1)
    fails_at(report, step, words, remedy)


def test_a_file_without_validator_is_a_warning(web, folder):
    report, = doctor(folder, web_dataset(f"{web.url}/undated/"), code=0)
    assert (report["steps"][-1]["step"], report["steps"][-1]["finding"]) == ("get", "warning")


def test_a_list_whose_checksum_is_wrong(web, folder):
    (web.www / "l").write_text(f"#larder-list 1\nx\ta\t-\t-\tsha256:{'0' * 64}\n")
    report, = doctor(folder, web_dataset(f"{web.url}/l", "List"), code=1)
    fails_at(report, "get", "checksum", "")


# ---- folders ----

def test_a_folder_that_is_right(folder):
    (folder / "src").mkdir()
    (folder / "src/a").write_bytes(b"a")
    report, = doctor(folder, file_dataset(folder / "src"), code=0)
    assert steps(report) == [(s, "ok") for s in ("root", "permission", "list", "get")]


def test_a_folder_that_is_missing_or_no_folder(folder):
    report, = doctor(folder, file_dataset(folder / "none"), code=1)
    fails_at(report, "root", "No such file", "mount what belongs there")
    (folder / "f").write_bytes(b"")
    report, = doctor(folder, file_dataset(folder / "f"), code=1)
    fails_at(report, "root", "Not a directory", "must be a folder")


def test_a_folder_the_nodes_uid_may_not_enter(folder):
    (folder / "src").mkdir(mode=0o700)
    report, = doctor(folder, file_dataset(folder / "src"), code=1)
    fails_at(report, "permission", "uid 65532 may not list and enter", "setfacl")
    os.chown(folder / "src", 4711, 4711)
    report, = doctor(folder, file_dataset(folder / "src"), "--run-as", "4711", code=0)
    assert report["steps"][-1]["finding"] == "warning"  # it is empty


def test_a_folder_below_and_a_file_that_it_may_not_read(folder):
    (folder / "src").mkdir()
    (folder / "src/a").write_bytes(b"a")
    (folder / "src/a").chmod(0o600)
    report, = doctor(folder, file_dataset(folder / "src"), code=1)
    fails_at(report, "get", "ermission denied", "let that uid in")
    (folder / "src/sub").mkdir(mode=0o700)
    report, = doctor(folder, file_dataset(folder / "src"), code=1)
    fails_at(report, "list", "sub", "let that uid in")


# ---- words and exit codes ----

def complete(*words):
    """What bash offers for the last of these words."""
    script = f"""source {ROOT}/cli/completion.bash; COMP_WORDS=({" ".join(f"'{w}'" for w in words)})
COMP_CWORD={len(words) - 1}; _larder; printf '%s\\n' "${{COMPREPLY[@]}}" """
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_completion_offers_the_words_of_the_help(folder):
    program = str(build_dir() / "bin/larder")
    assert complete(program, "doc") == ["doctor"]
    assert set(complete(program, "doctor", "-")) >= {"-f", "--file", "--secret", "--run-as", "--output", "--help"}
    assert complete(program, "doctor", "--output", "") == ["text", "json"]
    (folder / "a.yaml").write_text("")
    assert complete(program, "doctor", "-f", f"{folder}/a") == [f"{folder}/a.yaml"]


def test_the_man_page_names_every_option_and_step():
    page = (ROOT / "docs/man/larder-doctor.1").read_text().replace("\\-", "-")
    done = subprocess.run([build_dir() / "bin/larder", "doctor", "--help"], capture_output=True, text=True, check=True)
    for word in re.findall(r"--[a-z-]+", done.stdout):
        assert word in page or word == "--help", word
    for step in ("settings", "dns", "tcp", "tls", "clock", "root", "permission", "credentials", "list", "get"):
        assert f".B {step}" in page or f".BR {step}" in page, step


def test_every_source_is_tried_and_one_bad_one_is_exit_1(web, folder):
    (folder / "src").mkdir()
    (folder / "src/a").write_bytes(b"a")
    yaml = file_dataset(folder / "none") + f"    - {{mountPath: /b, file: {{path: {folder}/src}}}}\n---\n" + \
        web_dataset(f"{web.url}/json/", name="other")
    reports = doctor(folder, yaml, code=1)
    assert [(r["dataset"], r["source"], r["good"]) for r in reports] == [
        ("default/data", 0, False), ("default/data", 1, True), ("default/other", 0, True)]


@pytest.mark.parametrize("yaml, words", [("", "there is no Dataset in the files given"), ("a: [", "d.yaml:2:1: not YAML"),
                                         ("apiVersion: larder.dev/v1alpha1\nkind: Dataset\nmetadata: {name: x}\nspec: {}\n",
                                          "sources")])
def test_files_that_are_wrong(folder, yaml, words):
    assert words in doctor(folder, yaml, code=1, text=True)


@pytest.mark.parametrize("args, words", [(["--secret", "a=b"], "-f dataset.yaml"), (["--fil", "x"], 'did you mean "--file"'),
                                         (["-f", "x", "--output", "xml"], "text or json"), (["x"], "files are given with -f"),
                                         (["-f", "x", "--run-as", "0"], "--run-as")])
def test_words_that_are_wrong_are_exit_2(args, words):
    done = subprocess.run([build_dir() / "bin/larder", "doctor", *args], capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 2 and words in done.stderr, done.stderr


# ---- through a proxy


class Wants407(http.server.BaseHTTPRequestHandler):
    """A proxy that serves nobody without a credential."""

    def do_GET(self):  # noqa: N802
        self.send_response(407)
        self.send_header("Proxy-Authenticate", "Basic realm=x")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args):
        pass


def test_a_bucket_that_only_a_proxy_reaches(folder):
    one = start("moto", folder)
    proxy = Web(folder / "web", behind=int(one.endpoint.rsplit(":", 1)[1]))
    try:
        one.put("a", b"x" * 1000)
        report, = doctor(folder, s3("http://127.0.0.1:1", f', proxy: "http://127.0.0.1:{proxy.proxy_port}"'), code=0)
        assert steps(report) == [(s, "ok") for s in ("dns", "tcp", "clock", "credentials", "list", "get")]
        assert "/bucket/a" in (proxy.folder / "proxy.log").read_text()
    finally:
        proxy.stop()
        one.stop()


def test_a_proxy_that_is_not_there(folder):
    report, = doctor(folder, s3("http://127.0.0.1:1", f', proxy: "http://127.0.0.1:{free_port()}"'), code=1)
    fails_at(report, "tcp", "", "proxy")
    report, = doctor(folder, s3("http://127.0.0.1:1", ', proxy: "http://no-such-proxy.invalid:3128"'), code=1)
    fails_at(report, "dns", "no-such-proxy.invalid", "proxy")


def test_a_proxy_that_wants_a_credential(folder):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Wants407) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        report, = doctor(folder, s3("http://127.0.0.1:1", f', proxy: "http://127.0.0.1:{server.server_port}"'), code=1)
        server.shutdown()
    last = report["steps"][-1]
    assert last["finding"] == "failed" and "407" in last["detail"], report
    assert "the proxy wants a credential" in last["remedy"], last
