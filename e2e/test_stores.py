"""S3 servers from several hands: versitygw, whose objects are plain files, and moto, which takes every legal key."""

import base64
import datetime
import errno
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from harness import ROOT, Origin, free_port, random_bytes, wait_for
from web import Web

sys.path.insert(0, str(ROOT / "bench"))
import programs  # noqa: E402  the benchmarks' way to get versitygw

KEYS = ("larder-e2e", "larder-e2e-secret")


def missing(reason):
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def s3_client(endpoint):
    boto3 = pytest.importorskip("boto3")
    from botocore.config import Config
    return boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=KEYS[0], aws_secret_access_key=KEYS[1],
                        region_name="us-east-1", config=Config(s3={"addressing_style": "path"}, proxies={}))


class Store:
    def __init__(self, name, command, port, folder, **env):
        self.name, self.endpoint = name, f"http://127.0.0.1:{port}"
        self.log = open(folder / f"{name}.log", "w")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env={**os.environ, **env})

        def answers():
            assert self.process.poll() is None, (folder / f"{name}.log").read_text()
            return subprocess.run(["curl", "-s", "--noproxy", "*", "-o", os.devnull, self.endpoint],
                                  check=False).returncode == 0
        wait_for(name, answers, 60)
        self.client = s3_client(self.endpoint)
        self.client.create_bucket(Bucket="bucket")

    def put(self, key, data, **words):
        return self.client.put_object(Bucket="bucket", Key=key, Body=data, **words)

    def keep_versions(self):
        self.client.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


def start(name, folder, *options):
    port = free_port()
    if name == "moto":
        program = pathlib.Path(sys.executable).parent / "moto_server"
        if not program.exists():
            missing("needs moto: run through make e2e")
        return Store(name, [program, "-H", "127.0.0.1", "-p", str(port), *options], port, folder)
    try:
        program = programs.versitygw()
    except programs.Missing as reason:
        missing(str(reason))
    for sub in ("objects", "versions"):
        (folder / sub).mkdir()
    return Store(name, [program, "--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet", *options, "posix", "--versioning-dir",
                        folder / "versions", folder / "objects"], port, folder, ROOT_ACCESS_KEY=KEYS[0],
                 ROOT_SECRET_KEY=KEYS[1])


@pytest.fixture(params=["versitygw", "moto"])
def store(request, folder):
    one = start(request.param, folder)
    yield one
    one.stop()


def dataset(endpoint, extra="", region="us-east-1"):
    return f"""apiVersion: larder.dev/v1alpha1
kind: Dataset
metadata: {{name: data}}
spec:
  sources:
    - mountPath: /
      s3: {{bucket: bucket, endpoint: "{endpoint}", region: {region}}}
      secretRef: {{name: keys}}
{extra}---
apiVersion: v1
kind: Secret
metadata: {{name: keys}}
stringData: {{AWS_ACCESS_KEY_ID: {KEYS[0]}, AWS_SECRET_ACCESS_KEY: {KEYS[1]}}}
"""


ODD = ["plain", "a b+c%25&d;e=f", "é/漢字", "quote\"'<>", "tab\there", "new\nline", "#hash?query", "back\\slash", "~", "-", "%zz",
       "a&amp;b", "{brace}|^`[x]", "trailing.", "deep/er/est/x", "empty"]


def test_keys_with_odd_bytes_are_listed_and_read(store, instance):
    want = {}
    for i, key in enumerate(ODD):
        if store.name == "moto" and "\n" in key:
            continue  # moto's router answers 404 to a line break
        want[key] = b"" if key == "empty" else random_bytes(100 + i * 999, i)
        store.put(key, want[key])
    store.put("marker/", b"")
    instance.start(dataset(store.endpoint))
    found = {str(p.relative_to(instance.mount)) for p in instance.mount.rglob("*") if p.is_file()}
    assert found == set(want)
    assert (instance.mount / "marker").is_dir()
    for key, data in want.items():
        assert (instance.mount / key).read_bytes() == data, key


def test_where_versions_are_kept_a_replaced_object_is_read_as_it_was_listed(store, instance):
    store.keep_versions()
    old, new = random_bytes(3 << 20, 1), random_bytes(3 << 20, 2)
    for i in range(5):
        store.put("a", random_bytes(100, i))  # versions that are no more
    store.put("a", old)
    store.put("gone", old)
    store.put("deleted", b"x")
    store.client.delete_object(Bucket="bucket", Key="deleted")
    instance.start(dataset(store.endpoint, "  sync: {interval: 3s}\n"))
    assert sorted(os.listdir(instance.mount)) == ["a", "gone"]
    # An open file stays in its version, whatever the next sync finds.
    with open(instance.mount / "a", "rb") as a, open(instance.mount / "gone", "rb") as gone:
        store.put("a", new)
        store.client.delete_object(Bucket="bucket", Key="gone")
        assert hashlib.sha256(a.read()).digest() == hashlib.sha256(old).digest()
        assert hashlib.sha256(gone.read()).digest() == hashlib.sha256(old).digest()
    wait_for("the next sync", lambda: os.listdir(instance.mount) == ["a"])
    assert (instance.mount / "a").read_bytes() == new
    entry = instance.json("stat", "data:/a")
    assert entry["validator_kind"] == "strong"


def crc32c(data):
    """By the definition, bit by bit: boto3 computes it only with a library of its own."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return base64.b64encode((crc ^ 0xffffffff).to_bytes(4, "big")).decode()


@pytest.mark.parametrize("store, algorithm", [("versitygw", "CRC32"), ("versitygw", "CRC32C"), ("versitygw", "SHA256"),
                                              ("moto", "CRC32"), ("moto", "SHA256")], indirect=["store"])
def test_checksums_that_the_store_offers_agree(store, instance, algorithm):
    data = random_bytes(100000, 3)
    store.put("a", data, **({"ChecksumCRC32C": crc32c(data)} if algorithm == "CRC32C" else {"ChecksumAlgorithm": algorithm}))
    head = store.client.head_object(Bucket="bucket", Key="a", ChecksumMode="ENABLED")
    assert f"Checksum{algorithm}" in head, head
    instance.start(dataset(store.endpoint))
    assert (instance.mount / "a").read_bytes() == data


def test_bytes_that_rotted_in_the_store_are_never_read(folder, instance):
    store = start("versitygw", folder)
    try:
        data = random_bytes(100000, 4)
        store.put("a", data, ChecksumAlgorithm="CRC32")
        path = folder / "objects/bucket/a"
        with open(path, "r+b") as f:  # behind the server's back: size, etag and checksum stay
            f.seek(50000)
            f.write(bytes([data[50000] ^ 1]))
        instance.start(dataset(store.endpoint, "      timeout: 3s\n"))
        with pytest.raises(OSError) as caught:
            (instance.mount / "a").read_bytes()
        assert caught.value.errno == errno.EIO
        wait_for("the log", lambda: "checksum" in instance.output())
    finally:
        store.stop()


def test_the_region_is_found(folder, instance):
    """versitygw answers 400 to a request that is signed for another region than its own, and names its own."""
    store = start("versitygw", folder)
    try:
        store.put("a", b"found")
        instance.start(dataset(store.endpoint, region="eu-south-9"))
        assert (instance.mount / "a").read_bytes() == b"found"
    finally:
        store.stop()


def bare(endpoint, s3="", documents=""):
    return f"""apiVersion: larder.dev/v1alpha1
kind: Dataset
metadata: {{name: data}}
spec:
  sources:
    - {{mountPath: /, s3: {{bucket: bucket, endpoint: "{endpoint}"{s3}}}}}
{documents}"""


@pytest.fixture
def versity(folder):
    one = start("versitygw", folder)
    one.put("a", b"kept")
    yield one
    one.stop()


@pytest.fixture
def no_keys(monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def test_keys_of_the_environment(versity, instance, no_keys):
    no_keys.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    no_keys.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
    instance.start(bare(versity.endpoint))
    assert (instance.mount / "a").read_bytes() == b"kept"


def test_keys_of_a_profile(versity, instance, folder, no_keys):
    keys = folder / "credentials"
    keys.write_text(f"[team]\naws_access_key_id = {KEYS[0]}\naws_secret_access_key = {KEYS[1]}\n")
    keys.chmod(0o644)  # the node's uid is not root's
    no_keys.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    instance.start(bare(versity.endpoint, ", profile: team"))
    assert (instance.mount / "a").read_bytes() == b"kept"


def test_no_keys_anywhere_is_one_sentence(versity, instance, folder, no_keys):
    no_keys.setenv("HOME", str(folder))
    done = instance.try_up(bare(versity.endpoint))
    assert done.returncode == 1
    assert "no keys in the environment or the shared files, and instance metadata is switched off" in done.stderr, done.stderr


def test_a_store_behind_tls_of_a_ca_of_ones_own_and_behind_a_proxy(versity, instance, folder):
    web = Web(folder / "web", behind=int(versity.endpoint.rsplit(":", 1)[1]))
    try:
        lines = "".join(f"    {line}\n" for line in (web.folder / "ca.pem").read_text().splitlines())
        secrets = f"""---
apiVersion: v1
kind: Secret
metadata: {{name: ca}}
stringData:
  ca.crt: |
{lines}---
apiVersion: v1
kind: Secret
metadata: {{name: keys}}
stringData: {{AWS_ACCESS_KEY_ID: {KEYS[0]}, AWS_SECRET_ACCESS_KEY: {KEYS[1]}}}
"""
        yaml = bare(web.tls, ", caSecretRef: {name: ca}", secrets).replace("}}\n---", "}, secretRef: {name: keys}}\n---", 1)
        instance.start(yaml)
        assert (instance.mount / "a").read_bytes() == b"kept"
        instance.down()
        proxy = f"http://127.0.0.1:{web.proxy_port}"
        yaml = bare(versity.endpoint, f', proxy: "{proxy}"', secrets).replace("}}\n---", "}, secretRef: {name: keys}}\n---", 1)
        instance.start(yaml.replace("name: data", "name: other"))
        assert (instance.mount / "a").read_bytes() == b"kept"
        wait_for("the proxy's log", lambda: "/bucket/a" in (web.folder / "proxy.log").read_text())
    finally:
        web.stop()


class Gate(http.server.BaseHTTPRequestHandler):
    """Instance metadata whose keys live three seconds, and before the store a check of their tokens."""

    life_s = 3
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, headers=()):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def metadata(self):
        role = "/latest/meta-data/iam/security-credentials/"
        if self.path != role + "role":
            self.answer(200, b"role" if self.path == role else b"session")
            return
        until = time.time() + self.life_s
        token = f"token{len(self.server.tokens)}"
        self.server.tokens[token] = until
        stamp = datetime.datetime.fromtimestamp(until + 1, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.answer(200, json.dumps({"Code": "Success", "AccessKeyId": KEYS[0], "SecretAccessKey": KEYS[1], "Token": token,
                                     "Expiration": stamp}).encode())

    def store(self):
        token = self.headers["x-amz-security-token"]
        if self.server.tokens.get(token, 0) + 1 < time.time():
            self.server.refused += 1
            self.answer(400, b"<Error><Code>ExpiredToken</Code></Error>")
            return
        self.server.used.add(token)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind)
        connection.request(self.command, self.path, headers=dict(self.headers))
        response = connection.getresponse()
        body = response.read()
        headers = [(k, v) for k, v in response.getheaders() if self.command == "HEAD" or k.lower() != "content-length"]
        self.answer(response.status, body, [h for h in headers if h[0].lower() not in ("transfer-encoding", "connection")])
        connection.close()

    def do_GET(self):
        (self.metadata if self.path.startswith("/latest/") else self.store)()

    do_HEAD = do_PUT = do_GET

    def log_message(self, *args):
        pass


def test_keys_that_expire_while_a_file_is_read_are_renewed_and_the_read_goes_on(folder, instance, no_keys):
    data = random_bytes(24 << 20, 21)
    (folder / "s3/bucket").mkdir(parents=True)
    (folder / "s3/bucket/big").write_bytes(data)
    origin = Origin(folder / "s3", "--require-auth", ":".join(KEYS))  # versitygw takes no session token
    gate = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    gate.tokens, gate.used, gate.refused = {}, set(), 0
    gate.behind = origin.port
    thread = threading.Thread(target=gate.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{gate.server_port}"
        no_keys.delenv("AWS_EC2_METADATA_DISABLED")
        no_keys.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        no_keys.setenv("HOME", str(instance.folder))
        no_keys.setenv("no_proxy", "127.0.0.1")
        instance.start(bare(url, ', bandwidth: "2Mi"'))
        assert hashlib.sha256((instance.mount / "big").read_bytes()).digest() == hashlib.sha256(data).digest()
        assert len(gate.used) >= 3, gate.used
        assert gate.refused == 0
    finally:
        gate.shutdown()
        thread.join()
        gate.server_close()
        origin.stop()


def test_empty_objects_and_markers_of_folders(store, instance):
    """A key that ends in a slash is a folder, with or without something below it; with bytes it is a file in that."""
    store.put("empty", b"")
    store.put("deep/empty", b"")
    store.put("alone/", b"")
    store.put("full/", b"")
    store.put("full/file", b"below a marker")
    store.put("nested/one/", b"")
    marked = ["alone", "deep", "full", "nested"]
    try:
        store.put("bytes/", b"bytes of a marker")
        store.put("bytes/file", b"below")
        marked.append("bytes")
    except store.client.exceptions.ClientError as e:
        assert store.name == "versitygw", e  # a folder there holds none
    instance.start(dataset(store.endpoint))
    assert sorted(os.listdir(instance.mount)) == sorted([*marked, "empty"])
    for name in ("empty", "deep/empty"):
        assert (instance.mount / name).stat().st_size == 0
        assert (instance.mount / name).read_bytes() == b""
    assert os.listdir(instance.mount / "alone") == []
    assert os.listdir(instance.mount / "nested") == ["one"]
    assert os.listdir(instance.mount / "nested/one") == []
    assert (instance.mount / "full/file").read_bytes() == b"below a marker"
    if "bytes" in marked:
        assert sorted(os.listdir(instance.mount / "bytes")) == ["%~e", "file"]
        assert (instance.mount / "bytes/file").read_bytes() == b"below"
        assert (instance.mount / "bytes/%~e").read_bytes() == b"bytes of a marker"
    status = instance.json("status")["datasets"][0]
    assert int(status["files"]) == 3 + 2 * ("bytes" in marked), status
