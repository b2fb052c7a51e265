"""Syncs on request, of all and of a part: only the part is listed, and the tree is what a whole sync would have made of it."""

import os
import random
import subprocess
import time

from harness import Instance, file_dataset, s3_dataset, wait_for

SYNC_KILLS = int(os.environ.get("LARDER_SYNC_KILLS", "6"))
SEED = int(os.environ.get("SEED", "20261125"))


def sync(instance, what="data", check=0):
    return instance.cli("sync", what, check=check).stdout.strip()


def root(instance):
    return instance.json("versions", "data")["versions"][0]["root"]


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o644)


def test_a_sync_says_what_came_of_it(origin, instance):
    origin.put("a", b"12345")
    instance.start(s3_dataset(origin.endpoint))
    assert sync(instance) == "nothing changed in version 1: 1 files, 5 B"
    origin.put("b", b"678")
    assert sync(instance) == "new version 2: 2 files, 8 B"
    wait_for("the mount", (instance.mount / "b").exists)
    end = instance.json("sync", "data")
    assert (end["state"], end["version"], end["changed"], end["objects_done"]) == ("COMPLETE", 2, False, 2)
    assert "there is no dataset default/none" in instance.cli("sync", "none", check=1).stderr
    assert "[" in instance.cli("sync", "data:/a[", check=1).stderr


def test_a_sync_of_a_part_lists_no_more_than_that(origin, instance):
    for key in ("train/a/1", "train/b/1", "val/1"):
        origin.put(key, b"1")
    instance.start(s3_dataset(origin.endpoint))
    for key in ("train/a/2", "train/b/2", "val/2", "train/ab"):
        origin.put(key, b"2")
    origin.delete("train/a/1")
    assert sync(instance, "data:/train/a") == "new version 2: 3 files, 3 B"
    assert instance.cli("diff", "data", "1", "2", check=0).stdout == "- train/a/1\n+ train/a/2\n"
    assert sync(instance, "data:/train/a") == "nothing changed in version 2: 3 files, 3 B"
    assert sync(instance, "data:/val/2") == "new version 3: 4 files, 4 B"  # one file
    assert sync(instance, "data:/none/of/this") == "nothing changed in version 3: 4 files, 4 B"
    assert sync(instance, "data:/train/*/2") == "new version 4: 5 files, 5 B"
    origin.delete("train/b/1")
    origin.delete("train/b/2")
    assert sync(instance, "data:/train/b") == "new version 5: 3 files, 3 B"
    assert sync(instance, "data:/train") == "new version 6: 4 files, 4 B"
    assert sync(instance) == "nothing changed in version 6: 4 files, 4 B"  # the same root as of a whole listing


def test_a_part_of_a_folder_gives_the_tree_of_a_whole_sync(folder, instance):
    src = folder / "src"
    write(src / "keep/f", b"1")
    write(src / "d/old/f", b"1")
    (src / "d/empty").mkdir()
    (src / "d/link").symlink_to("old")
    instance.start(file_dataset(src))
    write(src / "d/new/deep/f", b"2")
    (src / "d/old/f").unlink()
    (src / "d/old").rmdir()
    (src / "d/link").unlink()
    (src / "d/link").write_bytes(b"now a file")
    os.utime(src / "d", (1, 1))
    os.utime(src, (2, 2))
    assert sync(instance, "data:/d").startswith("new version 2")
    partly = root(instance)
    assert instance.cli("diff", "data", "1", "2", check=0).stdout == (
        "~ d/link (3 B -> 10 B)\n+ d/new/\n+ d/new/deep/\n+ d/new/deep/f\n- d/old/\n- d/old/f\n")
    write(src / "keep/g", b"1")
    assert sync(instance, "data:/keep/g").startswith("new version 3")
    (src / "keep/g").unlink()
    (src / "keep/f").unlink()
    (src / "keep").rmdir()
    assert sync(instance, "data:/keep").startswith("new version 4")
    assert sorted(e["path"] for e in instance.json("ls", "data")) == ["d"]
    assert partly != root(instance)


def test_a_part_is_asked_of_the_sources_that_lie_in_it(origin, folder, instance):
    origin.put("a", b"1")
    origin.put("labels/covered", b"1")
    write(folder / "src/x/f", b"1")
    instance.start(s3_dataset(origin.endpoint, extra=f"    - {{mountPath: /labels, file: {{path: {folder}/src}}}}\n"))
    write(folder / "src/x/g", b"2")
    write(folder / "src/y", b"2")
    origin.put("labels/x/h", b"3")
    origin.put("b", b"3")
    assert sync(instance, "data:/labels/x") == "new version 2: 5 files, 5 B"
    assert sync(instance, "data:/labels") == "new version 3: 6 files, 6 B"
    assert sync(instance) == "new version 4: 7 files, 7 B"
    assert instance.cli("diff", "data", "3", "4", check=0).stdout == "+ b\n"


def test_regular_syncs_are_limited_to_the_paths_of_the_spec(origin, instance):
    for key in ("new/1", "old/1"):
        origin.put(key, b"1")
    instance.start(s3_dataset(origin.endpoint, extra="  sync: {interval: 1s, paths: [\"new/**\"]}\n"))
    origin.put("old/2", b"2")
    origin.put("new/2", b"2")
    wait_for("the new part", (instance.mount / "new/2").exists)
    origin.put("new/3", b"3")
    wait_for("the new part again", (instance.mount / "new/3").exists)
    assert not (instance.mount / "old/2").exists()
    assert sync(instance).startswith("new version")
    wait_for("the rest", (instance.mount / "old/2").exists)


def change_some(origin, rng, turn):
    for _ in range(10):
        number = rng.randrange(1500)
        if rng.randrange(3):
            origin.put(f"d{number % 20}/{number}", b"x" * rng.randrange(1, 200))
        else:
            origin.put(f"d{number % 20}/new-{turn}-{number}", b"y")
    origin.delete(f"d{turn % 20}/{turn}")


def stored(instance):
    return {os.path.join(os.path.basename(f), name) for f, _, names in os.walk(instance.state / "chunks") for name in names}


def test_a_sync_that_is_killed_at_any_point_and_run_again_has_the_same_root(origin, folder, instance):
    """Beside an instance whose syncs are killed runs one whose are not: version by version the roots are equal."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    for i in range(1500):
        origin.put(f"d{i % 20}/{i}", b"x" * (i % 90))
    (folder / "other").mkdir()
    other = Instance(folder / "other")
    try:
        yaml = s3_dataset(origin.endpoint)
        instance.start(yaml)
        other.start(yaml)
        assert root(instance) == root(other)
        for turn in range(SYNC_KILLS):
            change_some(origin, rng, turn)
            began = time.monotonic()
            sync(other)
            took = time.monotonic() - began
            asked = subprocess.Popen(instance.command_of("sync", "data"), stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0, took))  # the instant is what is drawn; whatever it hits, the end is the same
            instance.kill_worker()
            asked.wait(60)
            wait_for("a sync by the next worker", lambda: instance.cli("sync", "data").returncode == 0)
            assert root(instance) == root(other)
            assert numbers(instance)[0] == numbers(other)[0] == turn + 2
        print(f"{SYNC_KILLS} kills, the roots of all {SYNC_KILLS} versions are equal")
        wait_for("nothing to be left of the builds that were killed", lambda: stored(instance) == stored(other))
    finally:
        other.end()


def numbers(instance):
    return [v["version"] for v in instance.json("versions", "data")["versions"]]


def assert_whole_is_the_same(instance, what):
    """A sync of a part, then of all: the second finds nothing."""
    said = sync(instance, what)
    partly = root(instance)
    assert sync(instance).startswith("nothing changed"), said
    assert root(instance) == partly
    return said


def shown(instance):
    return sorted(e["path"] for e in instance.json("ls", "data", "--recursive") if e["type"] == "FILE")
