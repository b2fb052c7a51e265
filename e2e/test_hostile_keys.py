"""Keys that are no file names: the mounted tree is what an independent listing gives through the written rule.

LARDER_HOSTILE_KEYS, LARDER_HOSTILE_FILES and LARDER_HOSTILE_SAMPLE make it larger: how many keys moto gets, how many versitygw,
and of how many files the bytes are read.
"""

import hashlib
import json
import os
import random
import subprocess
import sys

import pytest

from harness import ROOT, Origin, file_dataset, free_port, s3_dataset
from moto_filled import content_of
from test_stores import dataset, s3_client, start
from test_sync import assert_whole_is_the_same, shown, sync, write

KEYS = int(os.environ.get("LARDER_HOSTILE_KEYS", "5000"))
FILES = int(os.environ.get("LARDER_HOSTILE_FILES", "2000"))
SAMPLE = int(os.environ.get("LARDER_HOSTILE_SAMPLE", "300"))
SEED = int(os.environ.get("SEED", "1"))
UP_S = 60 + KEYS // 200


def hostile_keys(count, rng, any_key):
    """@count keys; with @any_key also those that a file system cannot hold."""
    words = ["a", "b", "a-b", "a.b", "größe", "漢字", "tab\there", " blank ", "dot.", "...", ".hidden", "%2F", "a+b", "&lt;", "~", "-"]
    names = ["x" * 255, "é" * 127 + "e", "\x01\x02", "\x1f", "\x7f", "q\"'<>", "back\\slash"]
    broken = ["a//", "//", "a%~e", "%~f/x", "a%~f%~q", "é" * 600 + "/f", "z" * 254, "z" * 254 + "/f", "y" * 252 + "%~c", "a//y", ".", "..", "d/./z", "d/../z", "d/.", "y" * 256, "z/" + "y" * 300 + "/u", "/lead", "m//", "m/"]
    both = ["a", "a/", "a/b", "a-b", "a/b/c", "a.c"]
    keys = set()
    while len(keys) < count:
        top = f"{rng.choice('abcdefgh')}{rng.randrange(count // 40 + 1)}"
        kind = rng.randrange(10 if any_key else 6)
        if kind < 5:
            depth = rng.randrange(1, 5)
            path = "/".join([top, *(rng.choice(words) for _ in range(depth)), f"f{rng.randrange(9)}"])
            keys.add(path if any_key or len(path) < 200 else top)
        elif kind == 5:
            keys.add(f"n{top}/{rng.choice(names)}")
        elif kind == 6:
            keys.add(f"k{top}/{rng.choice(both)}")
        elif kind == 7:
            keys.add(f"r{top}/{rng.choice(broken)}")
        elif kind == 8:
            keys.add(f"l{top}/new\nline{rng.randrange(9)}")
        else:
            keys.add((f"w{top}" + "w" * 1024)[:1024])
    return sorted(keys)


MARKS = tuple(b"%~" + letter for letter in (b"e", b"d", b"c", b"q", b"f"))


def cut_of(name):
    """Where a component that is too long is cut: not before a byte that goes on with a sequence of UTF-8."""
    most = min(252, len(name) - 1)
    return next((n for n in range(most, most - 4, -1) if name[n] & 0xC0 != 0x80), most)


def component_of_rule(name, beside=b""):
    mark = b"%~e" if not name else b"%~d" if name in (b".", b"..") else b"%~q" if name.endswith(MARKS) else b""
    if len(name + mark + beside) <= 255:
        return name + mark + beside
    cut = cut_of(name)
    return name[:cut] + b"%~c/" + component_of_rule(name[cut:], beside)


def path_of_rule(key, beside=b""):
    *folders, name = key.split(b"/")
    return b"/".join([*map(component_of_rule, folders), component_of_rule(name, beside)])


def folders_above(path):
    parts = path.split(b"/")
    return (b"/".join(parts[:i]) for i in range(len(parts)))


def tree_of_rule(listing):
    """(files as {path: key}, folders) of {key: size}, by docs/sources.md and nothing of ours. All are bytes."""
    keys = {os.fsencode(key): size for key, size in listing.items()}
    folders = {path_of_rule(key[:-1]) for key, size in keys.items() if key.endswith(b"/") and not size}
    files = {path_of_rule(key): key for key, size in keys.items() if size or not key.endswith(b"/")}
    for path in [*files, *folders]:
        folders.update(folders_above(path))
    for path in files.keys() & folders:
        key = files.pop(path)
        files[path_of_rule(key, b"%~f")] = key
    for path in files:
        folders.update(folders_above(path))
    return files, folders


def tree_of_mount(mount):
    files, folders = {}, {b""}

    def walk(folder, path):
        for entry in os.scandir(folder):
            below = path + b"/" + entry.name if path else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.add(below)
                walk(entry.path, below)
            else:
                files[below] = entry.stat(follow_symlinks=False).st_size

    walk(os.fsencode(mount), b"")
    return files, folders


def listing_of(client):
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="bucket"):
        found.update((entry["Key"], entry["Size"]) for entry in page.get("Contents", ()))
    return found


def assert_tree_is(instance, listing, rng, readable=lambda key: True):
    files, folders = tree_of_rule(listing)
    seen_files, seen_folders = tree_of_mount(instance.mount)
    assert seen_files == {path: listing[os.fsdecode(key)] for path, key in files.items()}
    assert seen_folders == folders
    can = sorted(path for path, key in files.items() if readable(os.fsdecode(key)))
    odd = [path for path in can if files[path] != path]
    sample = {*rng.sample(can, min(SAMPLE, len(can) // 2)), *rng.sample(odd, min(SAMPLE, len(odd)))}
    for path in sample:
        key = os.fsdecode(files[path])
        with open(os.fsencode(instance.mount) + b"/" + path, "rb") as f:
            assert os.getxattr(f.fileno(), "user.larder.key") == files[path]
            assert sha256(f.read()) == sha256(content_of(key, listing[key])), path
    print(f"{len(listing)} keys, {len(files)} files ({len(odd)} at other paths), {len(folders)} folders, {len(sample)} read")
    return len(odd)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def moto():
    """A function that starts moto with keys and answers (endpoint, client)."""
    pytest.importorskip("moto")
    running = []

    def start_with(sizes):
        port = free_port()
        process = subprocess.Popen([sys.executable, ROOT / "e2e/moto_filled.py", str(port)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        running.append(process)
        for key, size in sizes.items():
            process.stdin.write(json.dumps([key, size]) + "\n")
        process.stdin.close()
        assert process.stdout.readline() == "serving\n"
        endpoint = f"http://127.0.0.1:{port}"
        return endpoint, s3_client(endpoint)

    yield start_with
    for process in running:
        process.terminate()
        process.wait(20)


def test_any_keys_of_moto_make_the_tree_of_the_rule(moto, instance):
    rng = random.Random(SEED)
    sizes = {key: rng.randrange(200) * (not key.endswith("/") or rng.randrange(2)) for key in hostile_keys(KEYS, rng, True)}
    endpoint, client = moto(sizes)
    listing = listing_of(client)
    assert listing == sizes
    # Of a large bucket moto takes its time for a page, and answers one request after the other: sixteen at once run into deadlines.
    instance.start(dataset(endpoint, s3=", connections: 2" if KEYS > 20_000 else ""), timeout=UP_S)
    # moto's router answers 404 to a line break.
    assert assert_tree_is(instance, listing, rng, lambda key: "\n" not in key) > KEYS // 50


def fill_folder(root, rng):
    """Files of hostile names, as far as a file system takes them beside each other; their sizes by key."""
    sizes = {}
    for key in hostile_keys(FILES, rng, False):
        path = root / key
        if not path.is_dir() and not any(parent.is_file() for parent in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            sizes[key] = rng.randrange(200)
            path.write_bytes(content_of(key, sizes[key]))
    return sizes


def test_what_versitygw_takes_makes_the_tree_of_the_rule(folder, instance):
    rng = random.Random(SEED)
    store = start("versitygw", folder)
    try:
        fill_folder(folder / "objects/bucket", rng)
        listing = listing_of(store.client)
        assert len(listing) > FILES // 2
        instance.start(dataset(store.endpoint), timeout=UP_S)
        # Of bytes that XML cannot hold it lists the replacement character: a key that it does not have itself.
        assert_tree_is(instance, listing, rng, lambda key: "\ufffd" not in key)
    finally:
        store.stop()


def test_any_bytes_of_a_folder_make_the_tree_of_the_rule(folder, instance):
    """Names that are no UTF-8, and names like marks, which only a file system holds beside each other."""
    rng = random.Random(SEED)
    sizes = fill_folder(folder / "src", rng)
    for name in (b"\xff", b"a\xc3", b"\x80" * 255, b"%~e", b"a%~q", b"%~f%~q", b"z" * 252 + b"%~c", b"y" * 254 + b"\xe9"):
        for key in (os.fsdecode(name), "marks/" + os.fsdecode(name) + "/f"):
            (folder / "src" / key).parent.mkdir(parents=True, exist_ok=True)
            sizes[key] = rng.randrange(200)
            (folder / "src" / key).write_bytes(content_of(key, sizes[key]))
    instance.start(file_dataset(folder / "src"), timeout=UP_S)
    assert assert_tree_is(instance, sizes, rng) == 8


@pytest.mark.parametrize("order", ["bytes", "folders"])
def test_a_server_that_lists_in_folder_order_gives_the_same_tree(folder, instance, order):
    rng = random.Random(SEED)
    sizes = fill_folder(folder / "s3/bucket", rng)
    origin = Origin(folder / "s3", "--order", order)
    try:
        instance.start(s3_dataset(origin.endpoint), timeout=UP_S)
        assert_tree_is(instance, sizes, rng)
    finally:
        origin.stop()


def test_a_part_is_asked_for_by_paths_of_the_tree(moto, instance):
    long, piece = "y" * 300, "y" * 252 + "%~c/" + "y" * 48
    keys = ["a//b", "a//c", "a/b", "/lead", "d/../z", "q%~e", "q%~e/r", f"w/{long}/u", f"w/{long}v", "m/"]
    endpoint, client = moto(dict.fromkeys(keys, 3))
    instance.start(dataset(endpoint))
    assert shown(instance) == sorted(["%~e/lead", "a/%~e/b", "a/%~e/c", "a/b", "d/..%~d/z", "m/%~e", "q%~e%~q%~f", "q%~e%~q/r",
                                      f"w/{piece}/u", f"w/{piece}v"])
    gone = [("a//c", "a/%~e/c"), ("a//b", "a/%~e"), ("/lead", "%~e/**"), ("d/../z", "d/..%~d"), ("m/", "m/%~e"),
            ("q%~e/r", "q%~e%~q/r"), (f"w/{long}v", f"w/{piece}v"), (f"w/{long}/u", f"w/{'y' * 252}%~c/**")]
    for key, part in gone:
        client.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key}]})
        assert "new version" in assert_whole_is_the_same(instance, f"data:/{part}"), key
    assert shown(instance) == ["a/b", "q%~e%~q"]
    for nowhere in ("a/%~e%~f/x", ".%~d%~d", "%~q"):
        assert assert_whole_is_the_same(instance, f"data:/{nowhere}").startswith("nothing changed")


def test_a_file_has_its_own_name_again_when_the_folder_of_it_went(moto, instance):
    endpoint, client = moto(dict.fromkeys(("a", "a/b", "a-b", "d/e", "d/e/f", "d/e/g", "k"), 1))

    def delete(key):
        client.delete_object(Bucket="bucket", Key=key)

    instance.start(dataset(endpoint))
    assert shown(instance) == ["a%~f", "a-b", "a/b", "d/e%~f", "d/e/f", "d/e/g", "k"]
    delete("a/b")
    assert assert_whole_is_the_same(instance, "data:/a/b").startswith("new version 2")
    assert shown(instance) == ["a", "a-b", "d/e%~f", "d/e/f", "d/e/g", "k"]
    delete("d/e/f")
    assert_whole_is_the_same(instance, "data:/d/e/*")
    delete("d/e/g")
    assert_whole_is_the_same(instance, "data:/d/e/**")
    assert shown(instance) == ["a", "a-b", "d/e", "k"]
    client.put_object(Bucket="bucket", Key="k/l", Body=b"12")
    assert_whole_is_the_same(instance, "data:/k/l")
    assert shown(instance) == ["a", "a-b", "d/e", "k%~f", "k/l"]
    client.put_object(Bucket="bucket", Key="k", Body=b"123")
    assert "new version" in assert_whole_is_the_same(instance, "data:/k%~f")
    delete("k")
    assert "new version" in assert_whole_is_the_same(instance, "data:/k%~f")
    assert shown(instance) == ["a", "a-b", "d/e", "k/l"]


@pytest.mark.parametrize("part", ["a", "a%~f"])
@pytest.mark.parametrize("keys", [("a", "a/b"), ("a", "a/"), ("a", "a/sub/"), ("a", "a/", "a/sub/", "a/b"), ("a/", "a/b")])
def test_a_part_has_what_stands_beside_its_folder(moto, instance, keys, part):
    """Nothing changed, then each of the keys comes, changes and goes: a sync of the part sees of it what a whole one would."""
    rest = {"a-b": 1, "ab": 1, "z/a": 1}
    endpoint, client = moto({**{key: int(not key.endswith("/")) for key in keys}, **rest})
    instance.start(dataset(endpoint))
    before = shown(instance)
    assert assert_whole_is_the_same(instance, f"data:/{part}").startswith("nothing changed")
    assert shown(instance) == before
    for key in keys:
        if not (part == "a" or key == "a"):
            continue  # not of the part
        client.delete_object(Bucket="bucket", Key=key)
        assert_whole_is_the_same(instance, f"data:/{part}")
        client.put_object(Bucket="bucket", Key=key, Body=b"" if key.endswith("/") else b"12")
        assert_whole_is_the_same(instance, f"data:/{part}")
    assert shown(instance) == before


def test_a_part_sees_that_a_folder_came_beside_a_file(moto, instance):
    endpoint, client = moto({"k": 1, "l": 1, "m/n": 1})
    instance.start(dataset(endpoint))
    client.put_object(Bucket="bucket", Key="k/l", Body=b"12")
    assert "new version 2" in assert_whole_is_the_same(instance, "data:/k")
    assert shown(instance) == ["k%~f", "k/l", "l", "m/n"]
    client.put_object(Bucket="bucket", Key="m", Body=b"123")
    assert "new version 3" in assert_whole_is_the_same(instance, "data:/m")
    client.put_object(Bucket="bucket", Key="k", Body=b"1234")
    assert "new version 4" in assert_whole_is_the_same(instance, "data:/k")
    client.delete_object(Bucket="bucket", Key="k")
    assert "new version 5" in assert_whole_is_the_same(instance, "data:/k")
    assert shown(instance) == ["k/l", "l", "m%~f", "m/n"]


def test_a_file_of_a_folder_becomes_a_folder(folder, instance):
    write(folder / "src/k", b"1")
    write(folder / "src/l", b"1")
    instance.start(file_dataset(folder / "src"))
    (folder / "src/k").unlink()
    write(folder / "src/k/l", b"12")
    assert sync(instance, "data:/k").startswith("new version 2")
    assert shown(instance) == ["k/l", "l"]
