"""How an S3 store is addressed and what it is shown: host names of buckets, and keys that are rotated under a running node."""

import os
import subprocess
import time

import pytest

from harness import random_bytes, s3_dataset, wait_for
from test_stores import KEYS, bare, dataset, no_keys, programs, start  # noqa: F401 # pylint: disable=unused-import # a fixture
from web import Web


@pytest.fixture
def named(folder):
    """(a versitygw that knows buckets by host names, an nginx before it that writes down which were asked for)"""
    store = start("versitygw", folder, "--virtual-domain", "localhost")
    web = Web(folder / "web", behind=int(store.endpoint.rsplit(":", 1)[1]))
    yield store, web
    web.stop()
    store.stop()


# Names below localhost lead to this machine wherever a resolver follows RFC 6761, as curl's own does.
@pytest.mark.parametrize("addressing, asked", [("VirtualHost", "bucket.localhost:{port} /"), ("Path", "localhost:{port} /bucket"),
                                               ("Auto", "localhost:{port} /bucket"), (None, "localhost:{port} /bucket")])
def test_a_bucket_is_asked_for_by_host_name_or_by_path(named, instance, addressing, asked):
    store, web = named
    want = {"a": random_bytes(5000, 1), "deep/er/key with blanks+%": random_bytes(3 << 20, 2)}
    for key, data in want.items():
        store.put(key, data)
    before = (web.folder / "hosts.log").read_text()
    yaml = dataset(f"http://localhost:{web.proxy_port}")
    instance.start(yaml.replace("region:", f"addressing: {addressing}, region:") if addressing else yaml)
    for key, data in want.items():
        assert (instance.mount / key).read_bytes() == data, key

    def requests():
        lines = (web.folder / "hosts.log").read_text()[len(before):].splitlines()
        return lines if any("key%20with%20blanks%2B%25" in line for line in lines) else []
    prefix = asked.format(port=web.proxy_port)
    for line in wait_for("the server's log", requests):
        assert line.startswith(prefix), line


FRESH_S = 10  # keys that are newer are not looked for again (docs/decisions/0033)


def admin(store, *words):
    command = [programs.versitygw(), "admin", "--access", KEYS[0], "--secret", KEYS[1], "--endpoint-url", store.endpoint, *words]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "no_proxy": "*"})


def write_keys(path, access, secret):
    """As tools that rotate keys do: whole, and at once."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(f"[team]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
    aside.chmod(0o644)  # the node's uid is not root's
    aside.rename(path)


@pytest.fixture
def users(folder):
    """A versitygw whose users come and go, and know nothing of each other's keys."""
    iam = folder / "iam"
    iam.mkdir()
    store = start("versitygw", folder, "--iam-dir", iam, "--iam-cache-disable")
    yield store
    store.stop()


def test_keys_of_a_shared_file_are_rotated_under_a_running_node(users, instance, folder, no_keys):  # noqa: F811
    want = {name: random_bytes(5 << 20, i) for i, name in enumerate(("first", "second", "third"))}
    for name, data in want.items():
        users.put(name, data)
    keys = folder / "credentials"
    for user in ("old", "new"):
        admin(users, "create-user", "--access", user, "--secret", f"{user}-secret", "--role", "admin")
    write_keys(keys, "old", "old-secret")
    no_keys.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    instance.start(bare(users.endpoint, ", profile: team"))
    started = time.monotonic()
    worker = instance.worker_pid()
    assert (instance.mount / "first").read_bytes() == want["first"]
    wait_for("the keys to be older", lambda: time.monotonic() - started > FRESH_S, FRESH_S + 5)
    write_keys(keys, "new", "new-secret")
    admin(users, "delete-user", "--access", "old")
    for name in ("second", "third"):
        assert (instance.mount / name).read_bytes() == want[name]
    users.put("fourth", b"listed with the new keys")
    instance.cli("sync", "data", check=0)
    assert (instance.mount / "fourth").read_bytes() == b"listed with the new keys"
    assert instance.worker_pid() == worker


def test_keys_that_were_revoked_without_others_are_a_refusal_and_not_a_missing_file(users, instance, folder, no_keys):  # noqa: F811
    users.put("a", b"a")
    keys = folder / "credentials"
    admin(users, "create-user", "--access", "old", "--secret", "old-secret", "--role", "admin")
    write_keys(keys, "old", "old-secret")
    no_keys.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    instance.start(bare(users.endpoint, ", profile: team"))
    admin(users, "delete-user", "--access", "old")
    with pytest.raises(PermissionError):
        (instance.mount / "a").read_bytes()
    wait_for("the log", lambda: "the store does not know this access key" in instance.output())


def test_no_more_requests_a_second_than_the_spec_allows(folder, instance):
    store = start("versitygw", folder)
    try:
        for i in range(20):
            store.put(f"file-{i}", b"%d" % i)
        instance.start(dataset(store.endpoint).replace("region:", "requestsPerSecond: 5, region:"))
        started = time.monotonic()
        for i in range(20):
            assert (instance.mount / f"file-{i}").read_bytes() == b"%d" % i
        assert time.monotonic() - started > 3  # all but a few of the first second wait for their turn: 20 / 5 = 4 s
    finally:
        store.stop()


def test_a_page_may_end_at_a_key_that_xml_cannot_hold(origin, instance):
    (origin.root / "bucket").mkdir()
    names = [f"key\x01-{i:04}" for i in range(2500)]  # so each of its pages does
    for name in names:
        (origin.root / "bucket" / name).touch()
    instance.start(s3_dataset(origin.endpoint))
    assert sorted(os.listdir(instance.mount)) == names
