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


def spec_file(instance):
    return next(iter((instance.run / "files").iterdir()))


def numbers(instance):
    return [v["version"] for v in instance.json("versions", "data")["versions"]]


def next_version(instance, folder, name, data):
    """Changes the folder and waits for the version that shows it."""
    before = numbers(instance)[0]
    (folder / "src" / name).write_bytes(data)
    (folder / "src" / name).chmod(0o644)
    wait_for("the next version", lambda: numbers(instance)[0] == before + 1)


def stored(instance):
    """What the catalog holds on the disk: chunks and roots."""
    return sum(len(files) for _, _, files in os.walk(instance.state / "chunks"))


EVERY_SECOND = "  sync: {interval: 1s}\n"


def test_versions_are_listed_compared_and_pinned(folder, instance):
    (folder / "src").mkdir()
    (folder / "src/a").write_bytes(b"first")
    yaml = file_dataset(folder / "src", extra=EVERY_SECOND)
    instance.start(yaml)
    next_version(instance, folder, "a", b"second, longer")
    next_version(instance, folder, "d", b"new")
    assert numbers(instance) == [3, 2, 1]
    latest = instance.json("versions", "data")["versions"][0]
    assert (latest["latest"], latest["files"], latest["bytes"]) == (True, 2, 17)
    assert instance.cli("diff", "data", "1", "3", check=0).stdout == "~ a (5 B -> 14 B)\n+ d\n"
    assert instance.cli("diff", "data", "3", "2", check=0).stdout == "- d\n"
    assert instance.cli("diff", "data", "2", "2", check=0).stdout == ""
    assert instance.json("diff", "data", "2", "2") == []
    changes = instance.json("diff", "data", "1", "3")
    assert [(c["kind"], c["to"]["path"], c["to"]["size"]) for c in changes] == [("CHANGED", "a", 14), ("ADDED", "d", 3)]
    wait_for("the mount to follow", (instance.mount / "d").exists)
    spec_file(instance).write_text(yaml + "  version: 2\n")
    wait_for("the pinned version", lambda: os.listdir(instance.mount) == ["a"])
    assert (instance.mount / "a").read_bytes() == b"second, longer"
    next_version(instance, folder, "e", b"not shown")
    assert os.listdir(instance.mount) == ["a"]
    assert [v["version"] for v in instance.json("versions", "data")["versions"] if v["pinned"] and v["mounts"] == 1] == [2]
    instance.kill_worker()
    assert os.listdir(instance.mount) == ["a"]
    spec_file(instance).write_text(yaml)
    wait_for("the newest version again", lambda: sorted(os.listdir(instance.mount)) == ["a", "d", "e"])
    for words, code, text in ((("diff", "data", "1", "99"), 1, "version 99 of default/data is not kept; the newest is 4"),
                              (("diff", "data", "1", "x"), 2, "\"x\" is no number of a version"),
                              (("versions", "nothing"), 1, "there is no dataset default/nothing")):
        done = instance.cli(*words)
        assert done.returncode == code and text in done.stderr, done.stderr


def test_old_versions_leave_and_their_chunks_with_them(folder, instance):
    (folder / "src").mkdir()
    (folder / "src/a").write_bytes(b"0")
    (folder / "src/a").chmod(0o644)
    yaml = file_dataset(folder / "src", extra=EVERY_SECOND + "  retention: {versions: 2}\n")
    instance.start(yaml)
    with open(instance.mount / "a", "rb", buffering=0) as held:  # its version stays while the file is open
        assert held.read(0) == b""
        for i in range(1, 5):
            next_version(instance, folder, "a", b"%d" % i * 10 * i)
        wait_for("versions between to leave", lambda: numbers(instance) == [5, 4, 1])
        assert stored(instance) == 6
        instance.kill_worker()
        wait_for("the next worker to answer", lambda: instance.cli("versions", "data").returncode == 0)
        assert numbers(instance) == [5, 4, 1]
        assert os.fstat(held.fileno()).st_size == 1
    next_version(instance, folder, "a", b"x")
    next_version(instance, folder, "a", b"xx")
    wait_for("the rest to leave", lambda: numbers(instance) == [7, 6])
    wait_for("their chunks too", lambda: stored(instance) == 4)
    assert (instance.mount / "a").read_bytes() == b"xx"


def test_a_version_leaves_by_its_age(folder, instance):
    (folder / "src").mkdir()
    (folder / "src/a").write_bytes(b"0")
    instance.start(file_dataset(folder / "src", extra=EVERY_SECOND + "  retention: {age: 2s}\n"))
    for i in range(1, 4):
        next_version(instance, folder, "a", b"%d" % i * 10 * i)
    wait_for("old versions to leave without a new one", lambda: len(numbers(instance)) <= 2)
    assert numbers(instance)[0] == 4


def test_a_deleted_dataset_leaves_no_version_and_no_chunk(folder, instance):
    (folder / "src").mkdir()
    (folder / "src/a").write_bytes(b"0")
    yaml = file_dataset(folder / "src", extra=EVERY_SECOND)
    instance.start(yaml)
    next_version(instance, folder, "a", b"1")
    target = instance.json("status")["mounts"][0]["target"]
    subprocess.run(["umount", "-l", target], check=True)
    wait_for("the mount to be given up", lambda: not instance.json("status")["mounts"])
    spec_file(instance).unlink()
    wait_for("the dataset to be gone", lambda: not instance.json("status")["datasets"])
    wait_for("its chunks to be gone", lambda: stored(instance) == 0)
    assert [files for _, _, files in os.walk(instance.state / "versions") if files] == []
