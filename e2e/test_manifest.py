"""The format page is enough: a reader written from it alone sees the tree that the mount shows."""

import importlib.util
import os
import random
import stat
import urllib.request

import pytest
from harness import ROOT, file_dataset, wait_for

SPEC = importlib.util.spec_from_file_location("manifest", ROOT / "docs/formats/manifest.py")
manifest = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(manifest)

SEED = int(os.environ.get("SEED", "1"))


def make_tree(top, rng):
    """Folders and files whose names and sizes reach what the format has cases for."""
    names = [b"a", b"a-b", b"a.b", b"aa", "größe".encode(), b"bytes\xff\xfe", b"new\nline", b" blank ", b"x" * 255, b"..."]
    folders = [os.fsencode(top)]
    for depth in range(4):
        for folder in list(folders)[-8:]:
            for name in rng.sample(names, 4):
                folders.append(os.path.join(folder, name))
                os.makedirs(folders[-1], exist_ok=True)
    for i in range(3000):
        path = os.path.join(rng.choice(folders), b"%s-%d" % (rng.choice(names)[:200], i))
        with open(path, "wb") as f:
            f.write(b"z" * rng.choice([0, 1, 100, 5000]))
        os.chmod(path, rng.choice([0o444, 0o644, 0o755]))
        os.utime(path, ns=(0, rng.randrange(-10**9, 2 * 10**18)))
    os.symlink("a", os.path.join(os.fsencode(top), b"link"))


def seen(path):
    """What a mount says of an entry, as the reader names it."""
    s = os.lstat(path)
    if stat.S_ISLNK(s.st_mode):
        return manifest.LINK, os.readlink(path)
    return (manifest.DIRECTORY, b"") if stat.S_ISDIR(s.st_mode) else (manifest.FILE, (s.st_size, s.st_mtime_ns))


def said(entry):
    return entry.type, {manifest.FILE: (entry.size, entry.mtime_ns), manifest.DIRECTORY: b"", manifest.LINK: entry.target}[entry.type]


def tree_of(top):
    found = {b"": seen(top)}
    for folder, folders, files in os.walk(os.fsencode(top)):
        for name in folders + files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, os.fsencode(top))] = seen(path)
    return found


def read(instance, name="data"):
    head = manifest.read_head((instance.state / "heads/default" / name).read_bytes())
    return head, *manifest.read_tree(head.root, manifest.from_folder(instance.state / "chunks"))


def test_a_reader_written_from_the_page_sees_what_the_mount_shows(folder, instance):
    print(f"seed {SEED}")
    (folder / "src").mkdir()
    make_tree(folder / "src", random.Random(SEED))
    instance.start(file_dataset(folder / "src"))
    head, root, entries = read(instance)
    assert head.version == instance.json("status")["datasets"][0]["version"]
    assert {e.path: said(e) for e in entries} == tree_of(instance.mount)
    for ordinal, e in enumerate(entries):  # a folder's subtree is one range
        below = [x for x in entries[ordinal + 1:e.end] if not x.path.startswith(e.path + b"/" if e.path else b"")]
        assert not below and (e.end == len(entries) or e.type != manifest.DIRECTORY or
                              not entries[e.end].path.startswith(e.path + b"/"))
    assert root.bytes == sum(e.size for e in entries) and root.files == 3000
    for e in entries:
        if e.type == manifest.FILE:  # inode, size, mtime, ctime
            s = os.stat(os.path.join(os.fsencode(folder / "src"), e.path))
            want = [s.st_ino, s.st_size, s.st_mtime_ns % 2**64, s.st_ctime_ns]
            assert (e.kind, e.validator) == ("weak", b"".join(v.to_bytes(8, "little") for v in want))
            assert e.mode == stat.S_IMODE(s.st_mode) and e.key == e.path


def test_the_reader_follows_versions_that_are_written_as_deltas(folder, instance):
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    top = folder / "src"
    top.mkdir()
    make_tree(top, rng)
    instance.start(file_dataset(top))
    deltas = set()
    for turn in range(7):
        files = [os.path.join(f, name) for f, _, names in os.walk(os.fsencode(top)) for name in names]
        for path in rng.sample(files, 12):
            choice = rng.randrange(3)
            if choice == 0:
                os.unlink(path)
            elif not os.path.islink(path):
                path = path[:200] + b"-%d" % turn if choice == 1 else path
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as f:
                    f.write(b"changed %d" % turn)
        instance.cli("sync", "data", check=0)
        head, root, entries = read(instance)
        assert head.version == turn + 2
        deltas.add(len(root.deltas))
        wait_for("the mount to follow", lambda version=head.version:
                 instance.json("status")["mounts"][0]["version"] == version)
        assert {e.path: said(e) for e in entries} == tree_of(instance.mount)
        assert (root.files, root.links) == tuple(sum(e.type == t for e in entries) for t in (manifest.FILE, manifest.LINK))
        for ordinal, e in enumerate(entries):
            assert ordinal < e.end <= len(entries)
            if e.type == manifest.DIRECTORY and e.path:
                assert all(x.path.startswith(e.path + b"/") for x in entries[ordinal + 1:e.end])
    assert deltas == {1, 2, 3, 4}


def test_etags_and_keys_of_a_store_stand_in_the_table(origin, folder, instance):
    (folder / "labels").mkdir()
    (folder / "labels/one").write_bytes(b"1")
    for i in range(200):
        origin.put(f"set/{i % 7}/{i}", b"x" * i)
    instance.start(file_dataset(folder / "labels").rstrip() + f"""
    - mountPath: /objects
      s3: {{bucket: bucket, prefix: set/, endpoint: "{origin.endpoint}", region: us-east-1}}
      anonymous: true
""")
    _, _, entries = read(instance)
    assert {e.path: said(e) for e in entries} == tree_of(instance.mount)
    objects = [e for e in entries if e.type == manifest.FILE and e.source == 1]
    assert len(objects) == 200
    for e in objects:
        assert e.path == b"objects/" + e.key
        with urllib.request.urlopen(f"{origin.endpoint}/bucket/set/{e.key.decode()}", timeout=10) as answer:
            assert (e.kind, e.validator.decode()) == ("strong", answer.headers["ETag"].strip('"'))


def test_the_reader_refuses_every_flipped_bit(folder, instance):
    (folder / "src").mkdir()
    for i in range(40):
        (folder / "src" / f"f{i}").write_bytes(b"x" * i)
    instance.start(file_dataset(folder / "src"))
    head, root, entries = read(instance)
    fetch = manifest.from_folder(instance.state / "chunks")
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    for name in (head.root, root.chunks[0].hash):
        data = fetch(name)
        for bit in rng.sample(range(len(data) * 8), 200):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(manifest.Corrupt):
                manifest.read_tree(head.root, lambda n, flipped=flipped, name=name: bytes(flipped) if n == name else fetch(n))
    assert len(entries) == 41
