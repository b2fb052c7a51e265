"""The file source on real file systems: ext4 and xfs on loop devices, an overlay over two folders of an ext4."""

import errno
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest

from harness import file_dataset, random_bytes, wait_for

KINDS = ["ext4", "xfs", "overlay"]
IMAGE_BYTES = 320 << 20  # an xfs takes no less than 300 MiB


def mount_image(folder, kind):
    image, where = folder / f"{kind}.img", folder / kind
    image.touch()
    os.truncate(image, IMAGE_BYTES)
    subprocess.run([f"mkfs.{kind}", "-q", image], check=True)
    where.mkdir()
    subprocess.run(["mount", "-o", "loop", image, where], check=True)
    return where


class Tree:
    """A folder of one kind of file system; on an overlay what is put lies in the lower layer, until it is changed."""

    def __init__(self, folder, kind):
        self.kind = kind
        self.folder = folder
        base = mount_image(folder, "ext4" if kind == "overlay" else kind)
        self.lower = base / "data"
        self.lower.mkdir()
        self.root = self.lower
        self.base = base

    def ready(self):
        """No more is put: from here on changes are made in self.root."""
        if self.kind == "overlay":
            for name in ("upper", "work"):
                (self.base / name).mkdir()
            self.root = self.folder / "merged"
            self.root.mkdir()
            layers = f"lowerdir={self.lower},upperdir={self.base}/upper,workdir={self.base}/work"
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, self.root], check=True)


@pytest.fixture(params=KINDS)
def tree(request):
    """In a folder of its own, which goes after the instance that reads it."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="larder-e2e-", dir=os.environ.get("LARDER_E2E_DIR", "/var/tmp")))
    folder.chmod(0o755)
    one = Tree(folder, request.param)
    yield one
    for where in (folder / "merged", one.base):
        if os.path.ismount(where):
            subprocess.run(["umount", where], check=True)
    shutil.rmtree(folder)


def read_errno(path):
    """0 and the bytes, or the errno that open or read answered."""
    try:
        with open(path, "rb", buffering=0) as f:
            parts = []
            while part := f.read(1 << 20):
                parts.append(part)
            return 0, b"".join(parts)
    except OSError as e:
        return e.errno, b""


def warnings(instance):
    return instance.json("status")["datasets"][0]["warnings"]


def put_odd_things(root, folder):
    (root / "a").mkdir()
    (root / "a/file").write_bytes(b"f" * 70000)
    (folder / "outside").write_bytes(b"never shown")
    os.link(root / "a/file", root / "hard")
    os.symlink("a/file", root / "inside")
    os.symlink(folder / "outside", root / "absolute")
    os.symlink("../../outside", root / "out")
    os.symlink("nowhere", root / "broken")
    os.mkfifo(root / "pipe")
    os.mknod(root / "device", 0o600 | 0o020000, os.makedev(1, 3))  # a character device: /dev/null
    with socket.socket(socket.AF_UNIX) as s:
        here = os.getcwd()
        os.chdir(root)  # the path of a socket is short
        s.bind("socket")
        os.chdir(here)


@pytest.mark.parametrize("symlinks,shown,left_out", [
    ("Follow", ["a", "hard", "inside"], 6), ("Keep", ["a", "absolute", "broken", "hard", "inside", "out"], 3),
    ("Skip", ["a", "hard"], 7)])
def test_links_and_special_files(tree, instance, symlinks, shown, left_out):
    put_odd_things(tree.root, tree.folder)
    tree.ready()
    instance.start(file_dataset(tree.root).replace("}}", f", symlinks: {symlinks}}}}}"))
    assert sorted(os.listdir(instance.mount)) == shown
    assert f"{left_out} special files or links of source 0 were left out" in wait_for(
        "the count of what was left out", lambda: warnings(instance))
    for name in ("a/file", "hard"):
        assert (instance.mount / name).read_bytes() == b"f" * 70000
    if symlinks == "Follow":
        assert (instance.mount / "inside").read_bytes() == b"f" * 70000
        assert not (instance.mount / "inside").is_symlink()
    if symlinks == "Keep":
        assert os.readlink(instance.mount / "out") == "../../outside"
        assert os.readlink(instance.mount / "absolute") == str(tree.folder / "outside")


def test_names_sparse_files_and_what_may_not_be_read(tree, instance):
    names = [b"a b", b"-n", b"new\nline", b"\xff\xfe", b"quo\"te'", b"back\\slash", b"\x01", "\u00e9".encode(), b"%41+",
             b"x" * 255, b"*?[", b"~", b"\xc3("]
    for i, name in enumerate(names):
        with open(bytes(tree.root) + b"/" + name, "wb") as f:
            f.write(b"%d" % i)
    (tree.root / "empty").touch()
    with open(tree.root / "sparse", "wb") as f:
        f.seek(5 << 20)
        f.write(b"end")
    (tree.root / "secret").write_bytes(b"no")
    (tree.root / "secret").chmod(0)
    tree.ready()
    instance.start(file_dataset(tree.root))
    shown = os.listdir(bytes(instance.mount))
    assert sorted(shown) == sorted([*names, b"empty", b"sparse", b"secret"])
    for i, name in enumerate(names):
        with open(bytes(instance.mount) + b"/" + name, "rb") as f:
            assert f.read() == b"%d" % i
    assert (instance.mount / "empty").read_bytes() == b""
    assert (instance.mount / "sparse").read_bytes() == bytes(5 << 20) + b"end"
    assert read_errno(instance.mount / "secret")[0] == errno.EACCES


OLD, NEW = random_bytes(300000, 1), random_bytes(300000, 2)


def rewrite(path):
    with open(path, "r+b") as f:
        f.write(NEW)


def replace(path):
    aside = path.with_name(path.name + ".new")
    aside.write_bytes(NEW)
    aside.rename(path)


def truncate(path):
    os.truncate(path, 1000)


def grow(path):
    with open(path, "ab") as f:
        f.write(b"more")


def set_back(path):
    """Rewritten, with the time of the old bytes: only the change time tells."""
    st = path.stat()
    rewrite(path)
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


def replace_set_back(path):
    st = path.stat()
    replace(path)
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


def change_mode(path):
    """On an overlay the file is copied up: its bytes are the same, and it is another file."""
    path.chmod(0o640 | 0o004)


CHANGES = {f.__name__: f for f in (rewrite, replace, truncate, grow, set_back, replace_set_back, change_mode)}
WANTED = {"truncate": OLD[:1000], "grow": OLD + b"more", "change_mode": OLD}


def test_changed_files_are_stale_until_the_next_sync(tree, instance):
    for name in CHANGES:
        (tree.root / name).write_bytes(OLD)
    (tree.root / "removed").write_bytes(OLD)
    (tree.root / "same").write_bytes(OLD)
    tree.ready()
    instance.start(file_dataset(tree.root))
    for name, change in CHANGES.items():
        change(tree.root / name)
    (tree.root / "removed").unlink()
    for name in [*CHANGES, "removed"]:
        assert read_errno(instance.mount / name) == (errno.ESTALE, b""), name
    assert read_errno(instance.mount / "same") == (0, OLD)
    instance.cli("sync", "data", check=0)
    wait_for("the next version", lambda: not (instance.mount / "removed").exists())
    for name in CHANGES:
        assert read_errno(instance.mount / name) == (0, WANTED.get(name, NEW)), name
    assert read_errno(instance.mount / "same") == (0, OLD)


BIG = 48 << 20


def read_while(path, changed):
    """Reads from start to end by small reads; the bytes before an error, and its errno. Says when it has begun."""
    got, begun = [], False
    try:
        with open(path, "rb", buffering=0) as f:
            while part := f.read(128 << 10):
                got.append(part)
                if not begun:
                    changed.set()
                    begun = True
    except OSError as e:
        return b"".join(got), e.errno
    return b"".join(got), 0


@pytest.mark.parametrize("change", ["rewrite", "replace", "truncate", "set_back"])
def test_a_file_changed_while_it_is_read_gives_old_bytes_or_estale(tree, instance, change):
    old = random_bytes(BIG, 3)
    (tree.root / "big").write_bytes(old)
    tree.ready()
    instance.start(file_dataset(tree.root))
    begun, path = threading.Event(), tree.root / "big"

    def changer():
        begun.wait()
        for _ in range(3):
            CHANGES[change](path)

    thread = threading.Thread(target=changer)
    thread.start()
    got, code = read_while(instance.mount / "big", begun)
    begun.set()
    thread.join()
    assert old.startswith(got)
    assert code == errno.ESTALE if len(got) < BIG else code == 0
    instance.cli("sync", "data", check=0)
    now = path.read_bytes()
    wait_for("the next version", lambda: read_errno(instance.mount / "big") == (0, now))
