"""A user's mistakes: one sentence each, tested word for word, and nothing left behind."""

import os
import pathlib
import re
import socket
import subprocess

import pytest

from harness import Instance, build_dir, file_dataset, free_port, leftovers, s3_dataset


@pytest.fixture
def source(folder):
    (folder / "src").mkdir()
    (folder / "src/a").write_bytes(b"a")
    return folder / "src"


def fails(instance, yaml, words, **kwargs):
    """`up` must end with exactly these words on its last line."""
    done = instance.try_up(yaml, **kwargs)
    last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    assert last == words, done.stdout + done.stderr
    assert done.returncode == 1
    assert not instance.run.exists()


def test_mount_point_missing(instance, source):
    instance.mount.rmdir()
    fails(instance, file_dataset(source),
          f"larder: mount point {instance.mount} does not exist; make it: mkdir -p {instance.mount}")


def test_mount_point_not_empty(instance, source):
    (instance.mount / "file").write_text("in the way")
    fails(instance, file_dataset(source),
          f"larder: mount point {instance.mount} is not empty; its files would be hidden: choose an empty folder")


def test_mount_point_is_a_file(instance, source):
    instance.mount.rmdir()
    instance.mount.write_text("")
    fails(instance, file_dataset(source), f"larder: mount point {instance.mount} is not a folder")


def test_mount_point_mounted_already(instance, source):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", instance.mount], check=True)
    try:
        done = instance.try_up(file_dataset(source))
        assert done.stderr.strip().splitlines()[-1] == (
            f"larder: {instance.mount} is a mount point already (tmpfs); unmount it or choose another folder")
        assert done.returncode == 1
    finally:
        subprocess.run(["umount", instance.mount], check=True)
    assert leftovers(instance) == []


def test_mount_point_stale(instance, source):
    """A FUSE mount whose server is gone: it must be told from an empty folder, and must not hang anybody."""
    device = os.open("/dev/fuse", os.O_RDWR)
    subprocess.run(["mount", "-t", "fuse.dead", "dead", instance.mount, "-i", "-o",
                    f"fd={device},rootmode=40000,user_id=0,group_id=0"], check=True, pass_fds=[device])
    os.close(device)
    try:
        # The newer mount(8) makes another type of the same words.
        kind = next(line.split()[2] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()
                    if line.split()[1] == str(instance.mount))
        done = instance.try_up(file_dataset(source), timeout=20)
        assert done.stderr.strip().splitlines()[-1] == (
            f"larder: {instance.mount} is a stale mount of {kind}, whose server is gone; "
            f"remove it: umount -l {instance.mount}")
        assert done.returncode == 1
    finally:
        subprocess.run(["umount", "-l", instance.mount], check=True)
    assert leftovers(instance) == []


def test_not_root(instance, source):
    words = instance.command(file_dataset(source))
    done = subprocess.run(words, capture_output=True, text=True, user=65534, group=65534, timeout=30, check=False)
    assert done.stderr == "larder up must be root: it mounts (run it with sudo)\n"
    assert done.returncode == 1


def test_no_dev_fuse(instance, source, folder):
    """In a mount namespace of its own, where /dev/fuse is hidden."""
    words = " ".join(f"'{w}'" for w in instance.command(file_dataset(source)))
    (folder / "nothing").mkdir()
    done = subprocess.run(["unshare", "-m", "sh", "-c", f"mount --bind {folder}/nothing /dev && {words}"],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr.strip().splitlines()[-1] == (
        "larder: /dev/fuse is missing; load it: modprobe fuse (in a container: --device /dev/fuse)")
    assert done.returncode == 1


def small_disk(folder, options):
    """A loop-mounted ext4 of 64 MiB."""
    image, where = folder / "disk.img", folder / "disk"
    where.mkdir()
    with open(image, "wb") as f:
        f.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", f"loop,{options}", image, where], check=True)
    return where


def test_disk_path_read_only(instance, source, folder):
    where = small_disk(folder, "ro")
    try:
        fails(instance, file_dataset(source), f"larder: disk tier {where} is on a read-only file system",
              disk=None, options=["--disk", f"{where}:1Gi"])
    finally:
        subprocess.run(["umount", where], check=True)


def test_disk_path_full(instance, source, folder):
    where = small_disk(folder, "rw")
    try:
        done = instance.try_up(file_dataset(source), disk=None, options=["--disk", f"{where}:1Gi"])
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(f"larder: disk tier {where} is full: ") and last.endswith("free, at least 64 MiB are needed")
        assert done.returncode == 1
    finally:
        subprocess.run(["umount", where], check=True)
    assert leftovers(instance) == []


def test_disk_path_missing(instance, source, folder):
    fails(instance, file_dataset(source), f"larder: disk tier {folder}/none does not exist; make it: mkdir -p {folder}/none",
          disk=None, options=["--disk", f"{folder}/none:1Gi"])


def test_port_taken(instance, source):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", instance.metrics_port))
        taken.listen()
        fails(instance, file_dataset(source),
              f"larder: --metrics 127.0.0.1:{instance.metrics_port}: the port is taken by another program; choose another")


def test_name_running_already(instance, source, folder):
    instance.start(file_dataset(source))
    (folder / "second").mkdir()
    other = Instance(folder / "second")
    other.name, other.run = instance.name, instance.run
    done = other.try_up(file_dataset(source))
    assert done.stderr.strip().splitlines()[-1] == (
        f"larder: instance {instance.name} is running already; end it with larder down {instance.name}, "
        "or choose another --name")
    assert done.returncode == 1
    assert (instance.mount / "a").read_bytes() == b"a"


YAML_MISTAKES = [
    ("spec:\n", "spec:\n  sourcez: []\n", 'dataset.yaml:5:3: unknown field "spec.sourcez"; did you mean "sources"?'),
    ("bucket:", "buckt:", 'dataset.yaml:7:12: unknown field "spec.sources[0].s3.buckt"; did you mean "bucket"?'),
    ("s3:", "gcs:", "dataset.yaml:7:7: gcs: not in this version (has: s3, http, file)"),
    ("kind: Dataset", "kind: Datset", "dataset.yaml:2:1: kind Datset: not in this version (has: Dataset, Secret)"),
    ("bucket: bucket", "bucket: [1]", "dataset.yaml:7:12: spec.sources[0].s3.bucket is a list; expected a value"),
]


@pytest.mark.parametrize("old, new, words", YAML_MISTAKES)
def test_wrong_yaml_is_told_with_line_column_and_the_nearest_key(instance, old, new, words):
    done = instance.try_up(s3_dataset("http://127.0.0.1:1").replace(old, new, 1))
    assert done.returncode == 1
    assert any(line.endswith(words) for line in done.stderr.splitlines()), done.stderr
    assert leftovers(instance) == []


def test_an_endpoint_where_nobody_listens_is_told_at_the_deadline(instance):
    port = free_port()
    done = instance.try_up(s3_dataset(f"http://127.0.0.1:{port}"), timeout=60)
    last = done.stderr.strip().splitlines()[-1]
    assert re.fullmatch(r"larder: .*default/data source 0 \(s3://bucket/\): Failed to connect to 127\.0\.0\.1 port "
                        rf"{port} after \d+ ms: Could(n't| not) connect to server for bucket; gave up at the deadline", last), last
    assert done.returncode == 1
    assert leftovers(instance) == []


@pytest.mark.parametrize("args, words", [
    (["staus"], 'larder: unknown command "staus"; did you mean "status"?\n'),
    (["up", "--mont", "x"], 'larder: unknown option "--mont"; did you mean "--mount"?\n'),
    (["up"], "larder: up needs a Dataset: -f dataset.yaml\n"),
    (["up", "-f", "x.yaml"], "larder: up needs a folder to mount on: --mount DIR\n"),
    (["up", "-f", "x", "--mount", "/y", "--memory", "lots"], 'larder: --memory "lots" is not a size; write 512Mi or 8G\n'),
])
def test_wrong_usage_is_exit_2_and_one_sentence(args, words):
    done = subprocess.run([build_dir() / "bin/larder", *args], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines(keepends=True)[0] == words


def test_a_busy_mount_is_not_torn_away_and_its_holder_is_named(instance, source):
    instance.start(file_dataset(source))
    with subprocess.Popen(["sleep", "600"], cwd=instance.mount) as holder:
        try:
            done = instance.down(check=1)
            assert f"{instance.mount} is in use by pid {holder.pid} (sleep): " in done.stdout + done.stderr
            assert pathlib.Path(instance.mount / "a").read_bytes() == b"a"
        finally:
            holder.kill()
    instance.down()
