"""The cache on its tiers: kept over restarts, bounded, and never wrong."""

import os
import pathlib
import random
import subprocess
import sys

from harness import file_dataset, random_bytes, s3_dataset, wait_for


def test_sealed_objects_are_kept_over_a_restart(origin, instance):
    data = random_bytes(6 << 20, 1)
    origin.put("a", data)
    instance.start(s3_dataset(origin.endpoint))
    instance.cli("load", "data", check=0)
    instance.down()
    instance.up_process.wait(30)
    before = origin.stats()["bytes"]
    instance.start(s3_dataset(origin.endpoint))
    assert (instance.mount / "a").read_bytes() == data
    assert origin.stats()["bytes"] == before
    assert instance.metric("larder_opens_total", mode="passthrough") == 1


def test_a_tier_stays_within_its_limit_and_reads_stay_right(origin, instance):
    files = 24
    for i in range(files):
        origin.put(f"f{i:02}", random_bytes(2 << 20, i))
    instance.start(s3_dataset(origin.endpoint), disk="20Mi")
    for turn in range(3):
        for i in range(files):
            assert (instance.mount / f"f{i:02}").read_bytes() == random_bytes(2 << 20, i), (turn, i)
    tier = instance.json("status")["tiers"][0]
    assert tier["bytes_used"] <= tier["bytes_max"] == 20 << 20
    assert tier["evicted"] > 0
    held = sum(os.stat(os.path.join(base, name)).st_blocks * 512
               for base, _, names in os.walk(instance.tier) for name in names)
    assert held <= 20 << 20


def test_a_quota_bounds_one_dataset_and_a_pinned_one_keeps_all_through_a_restart(origin, instance):
    for i in range(24):
        origin.put(f"a/f{i:02}", random_bytes(1 << 20, i))
        origin.put(f"b/f{i:02}", random_bytes(1 << 20, 100 + i))
    yaml = (s3_dataset(origin.endpoint, name="small", bucket="bucket, prefix: a", extra="  cache: {quota: 6Mi}\n") + "---\n"
            + s3_dataset(origin.endpoint, name="kept", bucket="bucket, prefix: b", extra="  cache: {pin: true}\n"))

    def cached():
        return {d["name"]: d["cached_bytes"] for d in instance.json("status")["datasets"]}

    def read(name, seed, files):
        for i in range(files):
            assert (instance.mount / name / f"f{i:02}").read_bytes() == random_bytes(1 << 20, seed + i), (name, i)

    instance.start(yaml, disk="24Mi")
    read("kept", 100, 10)
    for _ in range(3):
        read("small", 0, 24)
        assert cached()["small"] <= 6 << 20
    kept = cached()["kept"]
    assert kept >= 10 << 20
    assert {entry["cause"] for entry in instance.json("status", "--objects")["left"]} == {"quota"}
    instance.down()
    instance.up_process.wait(30)
    instance.start(yaml, disk="24Mi")
    wait_for("the former process's bytes to be counted", lambda: cached()["kept"] == kept)
    before = origin.stats()["bytes"]
    read("kept", 100, 10)
    assert origin.stats()["bytes"] == before


def test_status_tells_what_left_the_cache_and_why_and_what_would_go_next(origin, instance):
    for i in range(24):
        origin.put(f"train/f{i:02}", random_bytes(1 << 20, i))
    instance.start(s3_dataset(origin.endpoint), disk="16Mi")
    for turn in range(2):
        for i in range(4):
            assert (instance.mount / f"train/f{i:02}").read_bytes() == random_bytes(1 << 20, i), (turn, i)
    for i in range(4, 24):
        assert (instance.mount / f"train/f{i:02}").read_bytes() == random_bytes(1 << 20, i), i
    instance.cli("evict", "data:/train/f00", check=0)
    wait_for("the tier to be below its watermark", lambda: instance.json("status")["tiers"][0]["bytes_used"]
             <= instance.json("status")["tiers"][0]["bytes_high"])
    assert "left" not in instance.json("status") or not instance.json("status")["left"]
    status = instance.json("status", "--objects")
    left = {entry["key"]: entry for entry in status["left"]}
    assert left["train/f00"]["cause"] == "asked"
    assert left["train/f00"]["dataset"] == "default/data"
    assert left["train/f00"]["bytes"] >= 1 << 20
    room = [key for key, entry in left.items() if entry["cause"] == "room"]
    assert len(room) >= 5
    assert not {"train/f01", "train/f02", "train/f03"} & set(room)  # read twice: they stay
    following = status["tiers"][0]["next"]
    assert following and all(entry["key"].startswith("train/f") and entry["left_ns"] == 0 for entry in following)
    text = instance.cli("status", "--objects", check=0).stdout
    assert "would go next:" in text and "left the cache:" in text and "train/f00" in text


def test_a_file_larger_than_every_tier_is_read_right_and_passes_by(origin, instance):
    data = random_bytes(40 << 20, 9)
    origin.put("big", data)
    instance.start(s3_dataset(origin.endpoint), disk="20Mi")
    assert (instance.mount / "big").read_bytes() == data
    assert instance.metric("larder_passed_by_bytes_total") > 0


def test_the_dram_tier_is_used_where_a_dataset_asks_for_it(origin, instance):
    data = random_bytes(3 << 20, 4)
    origin.put("a", data)
    instance.start(s3_dataset(origin.endpoint, extra="  cache: {tiers: [DRAM, NVMe]}\n"), options=["--dram", "64Mi"])
    assert (instance.mount / "a").read_bytes() == data
    wait_for("the seal", lambda: instance.json("stat", "data:/a")["cache_state"] == "complete")
    assert instance.json("stat", "data:/a")["tier"] == "dram"
    assert (instance.mount / "a").read_bytes() == data
    assert instance.metric("larder_opens_total", mode="passthrough") >= 1


def test_thirty_two_readers_of_a_cold_file_fetch_it_once(origin, instance):
    size = 64 << 20
    origin.put("cold", random_bytes(size, 6))
    instance.start(s3_dataset(origin.endpoint))
    origin.reset()
    program = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())"
    readers = [subprocess.Popen([sys.executable, "-c", program, instance.mount / "cold"], stdout=subprocess.PIPE, text=True)
               for _ in range(32)]
    digests = {reader.communicate(timeout=120)[0] for reader in readers}
    assert len(digests) == 1
    assert origin.stats()["bytes"] <= size * 1.01


def test_random_reads_of_a_partial_file_are_right(origin, instance):
    size = 32 << 20
    data = random_bytes(size, 8)
    origin.put("part", data)
    instance.start(s3_dataset(origin.endpoint))
    rng = random.Random(3)
    with open(instance.mount / "part", "rb", buffering=0) as f:
        for _ in range(200):
            offset, length = rng.randrange(size), rng.randrange(1, 1 << 18)
            assert os.pread(f.fileno(), length, offset) == data[offset:offset + length]
    fetched = instance.metric("larder_fetched_bytes_total")
    assert fetched <= size * 1.01


def test_a_damaged_sidecar_costs_a_fetch_and_no_wrong_byte(origin, instance):
    data = random_bytes(2 << 20, 5)
    origin.put("a", data)
    instance.start(s3_dataset(origin.endpoint))
    instance.cli("load", "data", check=0)
    instance.down()
    instance.up_process.wait(30)
    sidecars = [os.path.join(base, name) for base, _, names in os.walk(instance.tier) for name in names if name.endswith(".side")]
    assert len(sidecars) == 1
    with open(sidecars[0], "r+b") as f:
        f.seek(20)
        byte = f.read(1)
        f.seek(20)
        f.write(bytes([byte[0] ^ 0xff]))
    instance.start(s3_dataset(origin.endpoint))
    assert (instance.mount / "a").read_bytes() == data


def flip_a_bit(path, at):
    mode = os.stat(path).st_mode
    os.chmod(path, 0o600)
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 4]))
    os.chmod(path, mode & 0o777)


def test_a_scrub_finds_a_flipped_bit_under_an_open_file_and_no_later_open_reads_it(origin, instance):
    data, other = random_bytes(6 << 20, 5), random_bytes(3 << 20, 6)
    origin.put("a", data)
    origin.put("b", other)
    instance.start(s3_dataset(origin.endpoint))
    instance.cli("load", "data", check=0)
    assert "2 objects" in instance.cli("scrub", check=0).stdout
    with open(instance.mount / "a", "rb") as f:
        assert f.read(1 << 20) == data[:1 << 20]
        assert instance.metric("larder_opens_total", mode="passthrough") == 1
        file = next(os.path.join(base, name) for base, _, names in os.walk(instance.tier) for name in names
                    if name.endswith(".data") and os.path.getsize(os.path.join(base, name)) == len(data))
        flip_a_bit(file, 4 << 20)
        found = instance.cli("scrub", "--bandwidth", "1Gi", check=3)
        assert "1 damaged" in found.stdout and "larder: a: damaged" in found.stderr
        assert instance.metric("larder_corrupt_blocks_total") == 1
        assert (instance.mount / "a").read_bytes() == data
        assert (instance.mount / "b").read_bytes() == other
    wait_for("the seal", lambda: instance.json("stat", "data:/a")["cache_state"] == "complete")
    assert instance.json("status", "--objects")["left"][0]["cause"] == "bad"
    assert "0 damaged" in instance.cli("scrub", check=0).stdout
    assert (instance.mount / "a").read_bytes() == data


def test_the_worker_has_no_privilege(folder, instance):
    (folder / "src").mkdir()
    (folder / "src/a").write_bytes(b"a")
    instance.start(file_dataset(folder / "src"))
    for pid in (instance.worker_pid(), instance.supervisor_pid()):
        status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
        assert status["Uid"].split() == ["65532"] * 4
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapInh"], 16) == 0
        assert status["NoNewPrivs"].strip() == "1"
