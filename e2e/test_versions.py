"""A live mount follows the store: what changed is seen, what is open goes on, what is the same costs nothing."""

import errno
import os
import subprocess

from harness import file_dataset, random_bytes, s3_dataset, wait_for


def sync_every_second(endpoint):
    return s3_dataset(endpoint, extra="  sync: {interval: 1s}\n")


def test_a_new_version_is_shown_under_a_live_mount(origin, instance):
    origin.put("kept", b"kept")
    origin.put("changed", b"old content")
    origin.put("removed", b"going")
    instance.start(sync_every_second(origin.endpoint))
    mount = instance.mount
    assert sorted(os.listdir(mount)) == ["changed", "kept", "removed"]
    assert not (mount / "added").exists()
    inode = (mount / "kept").stat().st_ino
    with open(mount / "changed", "rb", buffering=0) as old:
        assert old.read(3) == b"old"
        origin.put("changed", b"entirely new content")
        origin.put("added", b"fresh")
        origin.delete("removed")
        wait_for("the new version", lambda: (mount / "added").exists() and not (mount / "removed").exists())
        wait_for("the new content", lambda: (mount / "changed").read_bytes() == b"entirely new content")
        assert old.read() == b" content"  # an open file reads its version to the end
    assert sorted(os.listdir(mount)) == ["added", "changed", "kept"]
    assert (mount / "added").read_bytes() == b"fresh"
    assert (mount / "kept").stat().st_ino == inode
    status = instance.json("status")
    assert status["datasets"][0]["version"] == status["mounts"][0]["version"] >= 2


def test_a_new_worker_goes_on_listing_every_interval(origin, instance):
    origin.put("f", b"1")
    instance.start(sync_every_second(origin.endpoint))
    assert (instance.mount / "f").read_bytes() == b"1"
    instance.kill_worker()
    origin.put("added", b"after the kill")
    wait_for("the new version", (instance.mount / "added").exists)
    assert (instance.mount / "added").read_bytes() == b"after the kill"


def test_a_mount_taken_away_from_outside_is_given_up(origin, instance):
    origin.put("f", b"1")
    instance.start(s3_dataset(origin.endpoint))
    subprocess.run(["umount", "-l", instance.mount], check=True)
    wait_for("the mount to be given up", lambda: not instance.json("status")["mounts"])


def test_a_changed_file_keeps_its_inode_number_and_gets_its_new_size(origin, instance):
    origin.put("f", b"1" * 100)
    instance.start(sync_every_second(origin.endpoint))
    before = (instance.mount / "f").stat()
    origin.put("f", b"2" * 5000)
    wait_for("the new size", lambda: (instance.mount / "f").stat().st_size == 5000)
    assert (instance.mount / "f").stat().st_ino == before.st_ino
    assert (instance.mount / "f").read_bytes() == b"2" * 5000


def test_a_file_completed_while_open_is_passed_through_at_the_next_open(origin, instance):
    data = random_bytes(4 << 20, 3)
    origin.put("f", data)
    instance.start(s3_dataset(origin.endpoint))
    path = instance.mount / "f"
    with open(path, "rb", buffering=0) as held:
        assert held.read(4096) == data[:4096]
        instance.cli("load", "data:/f", check=0)

        def opened_passthrough():
            with open(path, "rb", buffering=0) as again:
                assert again.read(1 << 20) == data[:1 << 20]
            return instance.metric("larder_opens_total", mode="passthrough") >= 1
        wait_for("the promotion", opened_passthrough)
        held.seek(1 << 20)
        assert held.read(1 << 20) == data[1 << 20:2 << 20]  # beside it, the old handle reads on
        assert os.fstat(held.fileno()).st_ino == path.stat().st_ino


def test_a_file_source_shows_what_a_folder_holds(folder, instance):
    src = folder / "src"
    (src / "sub/deeper").mkdir(parents=True)
    (src / "empty").write_bytes(b"")
    (src / "sub/a").write_bytes(b"hello")
    (src / "sub/deeper/program").write_bytes(b"#!/bin/sh\necho it runs\n")
    (src / "sub/deeper/program").chmod(0o755)
    (src / "link").symlink_to("sub/a")
    os.mkfifo(src / "fifo")
    instance.start(file_dataset(src))
    mount = instance.mount
    assert sorted(os.listdir(mount)) == ["empty", "link", "sub"]
    assert (mount / "link").read_bytes() == b"hello"
    assert os.readlink(mount / "link") == "sub/a"
    assert (mount / "empty").read_bytes() == b""
    assert os.popen(str(mount / "sub/deeper/program")).read() == "it runs\n"
    assert (mount / "sub/a").stat().st_mode == 0o100444


def test_a_file_this_uid_may_not_read_is_eacces_and_counted_with_the_remedy(folder, instance):
    src = folder / "src"
    src.mkdir()
    (src / "secret").write_bytes(b"root only")
    (src / "secret").chmod(0o600)
    (src / "open").write_bytes(b"anybody")
    (src / "open").chmod(0o644)
    instance.start(file_dataset(src))
    try:
        (instance.mount / "secret").read_bytes()
        raise AssertionError("a file of root was read")
    except PermissionError:
        pass
    assert (instance.mount / "open").read_bytes() == b"anybody"
    warnings = instance.json("status")["datasets"][0]["warnings"]
    assert any("let uid 65532 read the files" in warning for warning in warnings)


def test_changes_are_refused(folder, instance):
    (folder / "src").mkdir()
    (folder / "src/a").write_bytes(b"a")
    instance.start(file_dataset(folder / "src"))
    for call in (lambda: (instance.mount / "new").write_bytes(b""), lambda: (instance.mount / "a").unlink(),
                 lambda: (instance.mount / "d").mkdir(), lambda: (instance.mount / "a").chmod(0o777),
                 lambda: (instance.mount / "a").rename(instance.mount / "b")):
        try:
            call()
            raise AssertionError("a change was accepted")
        except OSError as error:
            assert error.errno == errno.EROFS


def test_a_spec_whose_new_source_is_not_listed_yet_goes_on_reading_the_old_one(origin, instance):
    data = random_bytes(1 << 20, 7)
    origin.put("f", data)
    instance.start(s3_dataset(origin.endpoint))
    assert (instance.mount / "f").stat().st_size == len(data)
    for spec in (instance.run / "files").iterdir():
        spec.write_text(s3_dataset(origin.endpoint, bucket="there-is-none"))
    wait_for("the new source to fail", lambda: "there-is-none" in instance.cli("status").stdout)
    assert (instance.mount / "f").read_bytes() == data


def test_a_file_open_since_before_a_changed_spec_reads_on_after_a_kill(folder, instance):
    old, new = random_bytes(24 << 20, 8), random_bytes(24 << 20, 9)
    for name, data in (("one", old), ("two", new)):
        (folder / name).mkdir()
        (folder / name / "f").write_bytes(data)
        (folder / name / "f").chmod(0o644)
    instance.start(file_dataset(folder / "one"), options=["--without=passthrough"])
    path = instance.mount / "f"
    with open(path, "rb", buffering=0) as held:
        assert held.read(4096) == old[:4096]
        for spec in (instance.run / "files").iterdir():
            spec.write_text(file_dataset(folder / "two"))
        wait_for("the new source", lambda: path.read_bytes() == new)
        instance.kill_worker()
        assert os.pread(held.fileno(), len(old), 0) == old
        assert path.read_bytes() == new
        instance.kill_worker()  # a worker that never saw the change knows as much
        os.posix_fadvise(held.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(held.fileno(), len(old), 0) == old
