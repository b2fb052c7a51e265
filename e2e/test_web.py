"""The HTTP source against a real nginx: index pages of both kinds, a list, single files, TLS, passwords, redirects."""

import email.utils
import errno
import hashlib
import os
import subprocess
import urllib.parse

import pytest

from harness import random_bytes, sha256, wait_for
from test_sync import assert_whole_is_the_same, shown
from web import Web, nginx, web_dataset

ODD = ["plain.txt", "a b+c%25&d;e=f.bin", "é 漢字.dat", "quote\"'<>.x", "#hash?query", "back\\slash", "colon:name", "-",
       "trailing.", "~tilde", "new\nline", "x" * 255, ".hidden.json", "https:", "javascript:x", "a&amp;b"]


@pytest.fixture
def web(folder):
    if not nginx():
        reason = "needs nginx: apt-get install nginx-light"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    server = Web(folder / "web")
    yield server
    server.stop()


def fill(www, hidden=False):
    """A tree with nested folders and odd names; nginx's index leaves out names that begin with a dot."""
    want = {}
    for depth, folder in enumerate(["", "deep/er/est", "sp ace+%/ü", "empty/not"]):
        (www / folder).mkdir(parents=True, exist_ok=True)
        for i, name in enumerate(ODD):
            path = f"{folder}/{name}".lstrip("/")
            data = random_bytes(i * 5000 + depth, i * 10 + depth)
            (www / path).write_bytes(data)
            if hidden or not name.startswith("."):
                want[path] = data
    want["big.bin"] = random_bytes(30 << 20, 99)
    (www / "big.bin").write_bytes(want["big.bin"])
    (www / "nothing").mkdir()
    return want


def assert_tree(mount, want, folders=("nothing",)):
    found = {str(p.relative_to(mount)) for p in mount.rglob("*") if p.is_file()}
    assert found == set(want)
    for name, data in want.items():
        assert sha256(mount / name) == hashlib.sha256(data).hexdigest(), name
        assert (mount / name).stat().st_size == len(data)
    for name in folders:
        assert (mount / name).is_dir()


@pytest.mark.parametrize("where, index", [("json", ""), ("html", ""), ("json", "Nginx"), ("html", "Nginx"), ("html", "Auto")])
def test_a_tree_of_index_pages_is_shown_whole_and_right(web, instance, where, index):
    want = fill(web.www)
    instance.start(web_dataset(f"{web.url}/{where}/", index))
    assert_tree(instance.mount, want)
    status = instance.json("status")["datasets"][0]
    assert status["warnings"] == []
    stamp = os.stat(web.www / "plain.txt").st_mtime
    assert int(os.stat(instance.mount / "plain.txt").st_mtime) == int(stamp)
    heads = [line for line in web.requests() if '"HEAD ' in line]
    assert len(heads) == (1 if where == "json" else len(want))  # JSON says all; one file proves it


def test_one_read_is_one_request(web, instance):
    (web.www / "a").write_bytes(b"a" * 1000)
    instance.start(web_dataset(f"{web.url}/json/"))
    before = len(web.requests())
    assert (instance.mount / "a").read_bytes() == b"a" * 1000
    wait_for("the access log", lambda: len(web.requests()) == before + 1)
    assert '"GET /json/a HTTP/1.1" 206 1000' in web.requests()[-1]


def test_a_list_file_names_paths_urls_sizes_validators_and_checksums(web, instance):
    a, b, c = random_bytes(70000, 1), random_bytes(3 << 20, 2), random_bytes(100, 3)
    (web.www / "store").mkdir()
    (web.www / "store/a.bin").write_bytes(a)
    (web.www / "store/b b.bin").write_bytes(b)
    (web.www / "c").write_bytes(c)
    stamp = email.utils.formatdate(os.stat(web.www / "c").st_mtime, usegmt=True)
    digest = hashlib.sha256(a).hexdigest()
    (web.www / "files.list").write_text(
        "#larder-list 1\n# path, url, size, validator, checksum\n"
        f"train/first\tstore/a.bin\t{len(a)}\t-\tsha256:{digest}\n"
        "train/second%20%25\tstore/b%20b.bin\n\n"
        f"c\t-\t{len(c)}\tlast-modified:{stamp}\n"
        f"elsewhere\thttp://localhost:{web.port}/c\n")
    instance.start(web_dataset(f"{web.url}/files.list", "List"))
    assert_tree(instance.mount, {"train/first": a, "train/second %": b, "c": c, "elsewhere": c}, ["train"])
    assert instance.json("stat", "data:/train/first")["key"] == f"store/a.bin#sha256:{digest}"


def test_a_part_of_a_list_has_what_stands_beside_its_folder(web, instance):
    (web.www / "x").write_bytes(b"x" * 9)

    def put(*paths):
        (web.www / "files.list").write_text("#larder-list 1\n" + "".join(f"{path}\tx\t9\t-\n" for path in paths))

    put("a", "a/b", "c")
    instance.start(web_dataset(f"{web.url}/files.list", "List"))
    assert shown(instance) == ["a%~f", "a/b", "c"]
    for paths, want in ((("a", "a/b", "c"), "nothing changed"), (("a/b", "c"), "new version"), (("a", "a/b", "c"), "new version")):
        put(*paths)
        for part in ("a", "a%~f"):
            said = assert_whole_is_the_same(instance, f"data:/{part}")
            assert said.startswith(want if part == "a" else "nothing changed")
    assert shown(instance) == ["a%~f", "a/b", "c"]


def test_a_wrong_checksum_of_a_list_is_never_read(web, instance):
    (web.www / "a").write_bytes(b"x" * 50000)
    (web.www / "l").write_text(f"#larder-list 1\na\t-\t-\t-\tsha256:{'0' * 64}\n")
    instance.start(web_dataset(f"{web.url}/l", "List"))
    with pytest.raises(OSError) as caught:
        (instance.mount / "a").read_bytes()
    assert caught.value.errno == errno.EIO
    wait_for("the log", lambda: "checksum" in instance.output())


def test_a_single_file(web, instance):
    data = random_bytes(9 << 20, 5)
    (web.www / "model v1.bin").write_bytes(data)
    instance.start(web_dataset(f"{web.url}/model%20v1.bin"))
    assert_tree(instance.mount, {"model v1.bin": data}, [])


def test_a_server_without_ranges_still_gives_right_bytes(web, instance):
    data = random_bytes(40 << 20, 6)
    (web.www / "a").write_bytes(data)
    instance.start(web_dataset(f"{web.url}/norange/"))
    with open(instance.mount / "a", "rb") as f:
        f.seek(25 << 20)
        assert f.read(100000) == data[25 << 20:(25 << 20) + 100000]
    assert sha256(instance.mount / "a") == hashlib.sha256(data).hexdigest()


def test_a_large_file_of_a_server_without_ranges_is_not_sent_again_for_every_span(web, instance):
    data = random_bytes(128 << 20, 16)
    (web.www / "a").write_bytes(data)
    instance.start(web_dataset(f"{web.url}/norange/"))
    assert sha256(instance.mount / "a") == hashlib.sha256(data).hexdigest()
    wait_for("the file to be held", lambda: instance.json("stat", "data:/a")["cache_state"] == "complete")

    def sent():
        return [int(line.split('" ')[1].split()[1]) for line in web.requests() if '"GET /norange/a ' in line]
    # The first requests show that there are no ranges, then one stream serves all others.
    wait_for("the access log", lambda: sum(sent()) >= len(data))
    assert len(sent()) <= 16 and sum(sent()) <= 3 * len(data), sent()


def test_a_wrong_checksum_is_found_in_a_file_of_many_spans(web, instance):
    data = random_bytes(40 << 20, 17)
    (web.www / "a").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    (web.www / "l").write_text(f"#larder-list 1\ngood\ta\t-\t-\tsha256:{digest}\nbad\ta\t-\t-\tsha256:{'0' * 64}\n")
    instance.start(web_dataset(f"{web.url}/l", "List", extra="      timeout: 5s\n"))
    assert sha256(instance.mount / "good") == digest
    with pytest.raises(OSError) as caught:
        sha256(instance.mount / "bad")
    assert caught.value.errno == errno.EIO
    wait_for("the log", lambda: "checksum" in instance.output())


def test_without_etag_the_time_and_size_are_the_validator(web, instance):
    (web.www / "a").write_bytes(b"old" * 1000)
    os.utime(web.www / "a", (1000000000, 1000000000))
    instance.start(web_dataset(f"{web.url}/noetag/", extra="  sync: {interval: 2s}\n"))
    (web.www / "a").write_bytes(b"new" * 1000)
    with pytest.raises(OSError) as caught:
        (instance.mount / "a").read_bytes()
    assert caught.value.errno == errno.ESTALE

    def new():
        try:
            return (instance.mount / "a").read_bytes() == b"new" * 1000
        except OSError:
            return False
    wait_for("the next sync", new)


def test_without_any_validator_status_warns(web, instance):
    (web.www / "a").write_bytes(b"a")
    instance.start(web_dataset(f"{web.url}/undated/"))
    assert (instance.mount / "a").read_bytes() == b"a"
    warnings = instance.json("status")["datasets"][0]["warnings"]
    assert any("1 files have no validator" in w for w in warnings), warnings


@pytest.mark.parametrize("index", ["json", "html"])
def test_a_file_replaced_after_the_listing_is_stale(web, instance, index):
    (web.www / "a").write_bytes(b"a" * 100)
    os.utime(web.www / "a", (1000000000, 1000000000))
    instance.start(web_dataset(f"{web.url}/{index}/"))
    (web.www / "a").write_bytes(b"b" * 100)
    with pytest.raises(OSError) as caught:
        (instance.mount / "a").read_bytes()
    assert caught.value.errno == errno.ESTALE


def secret(**pairs):
    lines = "\n".join(f"  {key}: {value!r}" for key, value in pairs.items())
    return f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\nstringData:\n{lines}\n"


REF = "      secretRef: {name: keys}\n"


@pytest.mark.parametrize("where, pairs", [("private", {"username": "reader", "password": "s3cr:et"}),
                                          ("bearer", {"token": "t0ken"})])
def test_credentials(web, instance, where, pairs):
    (web.www / "a").write_bytes(b"secret bytes")
    instance.start(web_dataset(f"{web.url}/{where}/", extra=REF) + secret(**pairs))
    assert (instance.mount / "a").read_bytes() == b"secret bytes"
    assert list(pairs.values())[-1] not in instance.output()


@pytest.mark.parametrize("where, pairs, words", [
    ("private", {"username": "reader", "password": "wrong"}, "the server does not take the credential of the Secret"),
    ("private", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, "the Secret has keys of S3"),
    ("bearer", {"token": "t0ken", "username": "u", "password": "p"}, "the Secret has username and token"),
])
def test_wrong_credentials_end_up_with_one_sentence(web, instance, where, pairs, words):
    done = instance.try_up(web_dataset(f"{web.url}/{where}/", extra=REF) + secret(**pairs))
    assert done.returncode == 1
    assert words in done.stderr, done.stderr


def test_no_credentials_names_status_url_and_remedy(web, instance):
    done = instance.try_up(web_dataset(f"{web.url}/private/"))
    assert done.returncode == 1
    assert f"HTTP 401 for {web.url}/private/; give username and password or token by secretRef" in done.stderr, done.stderr


def test_redirects_are_followed_and_credentials_stay_with_their_server(web, instance, folder):
    want = {"a": random_bytes(100000, 8)}
    (web.www / "a").write_bytes(want["a"])
    instance.start(web_dataset(f"{web.url}/moved/"))
    assert_tree(instance.mount, want, [])
    instance.down()
    # localhost is another host than 127.0.0.1; it answers 418 to whoever brings a credential.
    instance.start(web_dataset(f"{web.url}/away/", extra=REF, name="other") + secret(username="reader", password="s3cr:et"))
    assert_tree(instance.mount, want, [])


def test_a_circle_of_redirects_is_one_sentence(web, instance):
    done = instance.try_up(web_dataset(f"{web.url}/circle/"))
    assert "over 5 redirects" in done.stderr, done.stderr


def ca_secret(web):
    lines = "".join(f"    {line}\n" for line in (web.folder / "ca.pem").read_text().splitlines())
    return f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\nstringData:\n  ca.crt: |\n{lines}"


def test_tls_by_a_ca_of_ones_own(web, instance):
    want = fill(web.www, hidden=True)
    instance.start(web_dataset(f"{web.tls}/", extra=REF) + ca_secret(web))
    assert_tree(instance.mount, {k: v for k, v in want.items() if not k.split("/")[-1].startswith(".")})


def test_tls_by_a_ca_nobody_trusts_is_told_at_once(web, instance):
    done = instance.try_up(web_dataset(f"{web.tls}/"), timeout=20)
    assert done.returncode == 1
    assert "certificate" in done.stderr, done.stderr


def test_a_redirect_from_https_to_http_is_refused(web, instance):
    (web.www / "a").write_bytes(b"a")
    done = instance.try_up(web_dataset(f"{web.tls}/down/", extra=REF) + ca_secret(web))
    assert "leads from https to" in done.stderr, done.stderr


def test_a_file_that_is_not_there_is_one_sentence(web, instance):
    done = instance.try_up(web_dataset(f"{web.url}/none.bin"))
    assert done.returncode == 1
    assert f"HTTP 404 for {web.url}/none.bin" in done.stderr, done.stderr


def test_exclude_saves_the_requests_of_what_nobody_wants(web, instance):
    for name in ("keep.bin", "drop.tmp"):
        (web.www / name).write_bytes(b"x")
    instance.start(web_dataset(f"{web.url}/html/", extra='      exclude: ["**/*.tmp", "*.tmp"]\n'))
    assert os.listdir(instance.mount) == ["keep.bin"]
    assert not any("drop.tmp" in line for line in web.requests())


def test_larder_up_says_what_a_url_must_be(instance):
    done = instance.try_up(web_dataset("ftp://x/"))
    assert 'is not a URL like https://host/folder/, without a user name or a fragment' in done.stderr, done.stderr
    done = instance.try_up(web_dataset("http://x/file", "Nginx"))
    assert "must end in a slash" in done.stderr, done.stderr
    done = instance.try_up(web_dataset(f"http://127.0.0.1/{urllib.parse.quote('a b')}/", "Single"))
    assert "must be that of a file" in done.stderr, done.stderr


def test_the_server_going_away_leaves_cached_bytes_and_one_clean_error(web, instance):
    (web.www / "a").write_bytes(b"a" * 5000)
    (web.www / "b").write_bytes(b"b" * 5000)
    instance.start(web_dataset(f"{web.url}/html/", extra="      timeout: 2s\n"))
    assert (instance.mount / "a").read_bytes() == b"a" * 5000
    web.stop()
    with pytest.raises(OSError) as caught:
        (instance.mount / "b").read_bytes()
    assert caught.value.errno == errno.EIO
    assert subprocess.run(["cat", instance.mount / "a"], capture_output=True, check=True).stdout == b"a" * 5000
