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

from harness import ROOT, Origin, free_port, s3_dataset
from moto_filled import content_of
from test_stores import dataset, s3_client, start

KEYS = int(os.environ.get("LARDER_HOSTILE_KEYS", "5000"))
FILES = int(os.environ.get("LARDER_HOSTILE_FILES", "2000"))
SAMPLE = int(os.environ.get("LARDER_HOSTILE_SAMPLE", "300"))
SEED = int(os.environ.get("SEED", "1"))
UP_S = 60 + KEYS // 200


def hostile_keys(count, rng, any_key):
    """@count keys; with @any_key also those that a file system cannot hold."""
    words = ["a", "b", "a-b", "a.b", "größe", "漢字", "tab\there", " blank ", "dot.", "...", ".hidden", "%2F", "a+b", "&lt;", "~", "-"]
    names = ["x" * 255, "é" * 127 + "e", "\x01\x02", "\x1f", "\x7f", "q\"'<>", "back\\slash"]
    broken = ["a//y", ".", "..", "d/./z", "d/../z", "d/.", "y" * 256, "z/" + "y" * 300 + "/u", "/lead", "m//", "m/"]
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


def tree_of_rule(listing):
    """(files with sizes, folders, names skipped) of {key: size}, by docs/formats/manifest.md and nothing of ours: what is no path is
    skipped, a marker is a folder, a file beside a folder of its name is skipped."""
    files, folders, skipped = {}, {""}, 0
    for key, size in listing.items():
        path = key[:-1] if key.endswith("/") else key
        parts = path.split("/")
        if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts) or len(path.encode()) > 4095:
            skipped += 1
            continue
        folders.update("/".join(parts[:i]) for i in range(1, len(parts)))
        if key.endswith("/"):
            folders.add(path)
        else:
            files[path] = size
    lost = [path for path in files if path in folders]
    return {path: size for path, size in files.items() if path not in folders}, folders, skipped + len(lost)


def tree_of_mount(mount):
    files, folders = {}, {""}

    def walk(folder, path):
        for entry in os.scandir(folder):
            below = f"{path}/{entry.name}" if path else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.add(below)
                walk(entry.path, below)
            else:
                files[below] = entry.stat(follow_symlinks=False).st_size

    walk(mount, "")
    return files, folders


def listing_of(client):
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="bucket"):
        found.update((entry["Key"], entry["Size"]) for entry in page.get("Contents", ()))
    return found


def assert_tree_is(instance, listing, rng, readable=lambda key: True):
    files, folders, skipped = tree_of_rule(listing)
    seen_files, seen_folders = tree_of_mount(instance.mount)
    assert seen_files == files
    assert seen_folders == folders
    sample = rng.sample(sorted(filter(readable, files)), min(SAMPLE, len(files) // 2))
    for path in sample:
        want = hashlib.sha256(content_of(path, files[path])).digest()
        assert hashlib.sha256((instance.mount / path).read_bytes()).digest() == want, path
    print(f"{len(listing)} keys, {len(files)} files, {len(folders)} folders, {skipped} skipped, {len(sample)} read")
    return skipped


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
    sizes = {key: 0 if key.endswith("/") else rng.randrange(200) for key in hostile_keys(KEYS, rng, True)}
    endpoint, client = moto(sizes)
    listing = listing_of(client)
    assert listing == sizes
    instance.start(dataset(endpoint), timeout=UP_S)
    # moto's router answers 404 to a line break.
    skipped = assert_tree_is(instance, listing, rng, lambda key: "\n" not in key)
    assert skipped > KEYS // 50


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
