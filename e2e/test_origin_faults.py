"""A store that misbehaves: right bytes, or one clean error within its deadline. Never wrong bytes, never a hang."""

import errno
import os
import signal
import subprocess
import time

import pytest

from harness import random_bytes, s3_dataset, wait_for

SIZE = 3 << 20
DEADLINE = 3.0
SLACK = 1.0  # scheduling

FAULTS = [
    # name, fault, errno (None: the bytes must come)
    ("403", {"status": 403, "code": "AccessDenied"}, errno.EACCES),
    ("404", {"status": 404, "code": "NoSuchKey"}, errno.ESTALE),
    ("412", {"status": 412, "code": "PreconditionFailed"}, errno.ESTALE),
    ("500-for-ever", {"status": 500, "code": "InternalError"}, errno.EIO),
    ("500-twice", {"status": 500, "code": "InternalError", "times": 2}, None),
    ("503-for-ever", {"status": 503, "code": "SlowDown"}, errno.EIO),
    ("503-twice", {"status": 503, "code": "SlowDown", "times": 2}, None),
    ("truncated-once", {"truncate_at": 100000, "times": 1}, None),
    ("truncated-for-ever", {"truncate_at": 0}, errno.EIO),
    ("wrong-etag", {"wrong_etag": True}, errno.ESTALE),
    ("stall-for-ever", {"stall": True}, errno.EIO),
    ("closed-once", {"close": True, "times": 1}, None),
    ("closed-for-ever", {"close": True}, errno.EIO),
]


def put_objects(origin):
    contents = {}
    for i, (name, _, _) in enumerate(FAULTS):
        contents[name] = random_bytes(SIZE, i)
        origin.put(name, contents[name])
    origin.put("untouched", b"untouched")
    return contents


def read_all(path):
    with open(path, "rb", buffering=0) as f:
        data = b""
        while block := f.read(1 << 20):
            data += block
        return data


def test_each_fault_ends_in_right_bytes_or_one_clean_error(origin, instance):
    contents = put_objects(origin)
    instance.start(s3_dataset(origin.endpoint, source="      timeout: 3s\n"))
    for name, fault, want in FAULTS:
        origin.fault(match=name, **fault)
        begin = time.monotonic()
        if want is None:
            assert read_all(instance.mount / name) == contents[name], name
        else:
            with pytest.raises(OSError) as caught:
                read_all(instance.mount / name)
            assert caught.value.errno == want, (name, errno.errorcode[caught.value.errno])
        took = time.monotonic() - begin
        assert took < DEADLINE + SLACK, (name, took)
        origin.heal()
        # What was out of reach is read when it is back (a moment later: see EXPIRED_WINDOW_NS).
        if want in (None, errno.EIO):
            time.sleep(0.15)
            assert read_all(instance.mount / name) == contents[name], name
        assert read_all(instance.mount / "untouched") == b"untouched"


def test_the_nodes_log_names_status_code_and_key(origin, instance):
    origin.put("models/a.bin", b"x" * 5000)
    instance.start(s3_dataset(origin.endpoint))
    origin.fault(match="models/a.bin", status=403, code="AccessDenied")
    with pytest.raises(PermissionError):
        read_all(instance.mount / "models/a.bin")
    wait_for("the log", lambda: "403" in instance.output())
    line = next(line for line in instance.output().splitlines() if "403" in line)
    assert "AccessDenied" in line and "models/a.bin" in line
    dataset = instance.json("status")["datasets"][0]
    assert any("denied" in warning for warning in dataset["warnings"])


def test_an_origin_that_refuses_connections_is_eio_within_the_deadline(origin, instance):
    data = random_bytes(SIZE, 1)
    origin.put("a", data)
    origin.put("cached", data)
    instance.start(s3_dataset(origin.endpoint, source="      timeout: 3s\n"))
    instance.cli("load", "data:/cached", check=0)
    origin.stop()
    begin = time.monotonic()
    with pytest.raises(OSError) as caught:
        read_all(instance.mount / "a")
    assert caught.value.errno == errno.EIO
    assert time.monotonic() - begin < DEADLINE + SLACK
    assert read_all(instance.mount / "cached") == data  # what is here needs nobody
    assert sorted(os.listdir(instance.mount)) == ["a", "cached"]


def test_an_object_replaced_while_it_is_read_is_old_bytes_or_estale_never_a_mix(origin, instance):
    turns = 30
    for turn in range(turns):
        origin.put(f"turn{turn}", random_bytes(SIZE, turn))
    instance.start(s3_dataset(origin.endpoint))
    for turn in range(turns):
        old, new = random_bytes(SIZE, turn), random_bytes(SIZE, turn + 1000)
        got = b""
        with open(instance.mount / f"turn{turn}", "rb", buffering=0) as f:
            try:
                got = f.read(64 << 10)
                origin.put(f"turn{turn}", new)
                while block := f.read(1 << 20):
                    got += block
                assert got == old
            except OSError as error:
                assert error.errno == errno.ESTALE
                assert got == old[:len(got)]


def test_a_killed_reader_of_a_stalled_object_goes_at_once(origin, instance):
    origin.put("slow", random_bytes(SIZE, 5))
    instance.start(s3_dataset(origin.endpoint))
    origin.fault(match="slow", stall=True)
    reader = subprocess.Popen(["cat", instance.mount / "slow"], stdout=subprocess.DEVNULL)
    wait_for("the READ to arrive", lambda: instance.metric("larder_fuse_reads_total") >= 1)
    begin = time.monotonic()
    reader.send_signal(signal.SIGKILL)
    reader.wait(10)
    assert time.monotonic() - begin < 3
    origin.heal()
