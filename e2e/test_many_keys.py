"""Many keys: the builder's memory, what a few changes add, and the difference of versions beside another program's."""

import os
import re
import time
import urllib.parse

from harness import Origin, s3_dataset, wait_for

KEYS = int(os.environ.get("LARDER_KEYS", "200000"))
CHANGES = 1000
MEMORY_MAX, ADDED_MAX = 256 << 20, 2 << 20


def listed(origin):
    """{key: etag}, by nothing but pages of the store's own list."""
    found, token = {}, None
    while True:
        query = {"list-type": "2", **({"continuation-token": token} if token else {})}
        page = origin.request("GET", "/bucket?" + urllib.parse.urlencode(query)).decode()
        found.update(re.findall(r"<Key>([^<]*)</Key>.*?<ETag>([^<]*)</ETag>", page, re.S))
        after = re.search(r"<NextContinuationToken>([^<]*)<", page)
        if not after:
            return found
        token = after.group(1)


def anonymous_memory(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("RssAnon:"))


def stored_bytes(instance):
    return sum(os.stat(os.path.join(path, name)).st_size for path, _, names in os.walk(instance.state / "chunks") for name in names)


def state(instance):
    return instance.json("status")["datasets"][0]


def test_a_thousand_changes_among_many_keys_cost_little_and_are_told_exactly(folder, instance):
    (folder / "s3").mkdir()
    origin = Origin(folder / "s3", "--synthetic", f"bucket/train/part:4Kx{KEYS}")
    try:
        before = listed(origin)
        assert len(before) == KEYS
        started = time.monotonic()
        instance.start(s3_dataset(origin.endpoint), wait=False)
        peak = 0

        def ready():
            nonlocal peak
            pid = instance.worker_pid() if (instance.run / "node.pid").exists() else 0
            peak = max(peak, anonymous_memory(pid) if pid else 0)
            assert instance.up_process.poll() is None, instance.output()
            return "\nready; " in instance.output()
        wait_for("the first version", ready, 1800)
        built = time.monotonic() - started
        assert state(instance)["files"] == KEYS
        first_bytes = stored_bytes(instance)
        origin.request("POST", f"/_control/change/{CHANGES}/7")
        started = time.monotonic()
        instance.cli("sync", "data", check=0, timeout=1800)
        synced = time.monotonic() - started
        peak = max(peak, anonymous_memory(instance.worker_pid()))
        added = stored_bytes(instance) - first_bytes
        after = listed(origin)
        want = {key for key, _ in after.items() ^ before.items()}
        changes = instance.json("diff", "data", "1", "2")
        print(f"{KEYS} keys: first version {built:.1f} s, {first_bytes / KEYS:.1f} bytes a key; second {synced:.1f} s, {added} bytes "
              f"added; {len(changes)} changes; the worker's RssAnon at most {peak >> 20} MiB")
        assert {c["kind"] for c in changes} == {"CHANGED"}
        assert len(changes) == len({c["to"]["path"] for c in changes})
        assert {c["to"]["path"] for c in changes} == want
        assert 0 < added <= ADDED_MAX
        assert peak <= MEMORY_MAX
    finally:
        origin.stop()
