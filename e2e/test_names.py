"""Names of several sources in one tree, where their keys are told, and what status tells of them."""

import os

from harness import file_dataset, wait_for
from test_sync import sync, write

KINDS = ("COVERED", "BESIDE", "ESCAPED", "LEFT_OUT")
ODD = b"\xff\n%~e"  # no UTF-8, and it ends like a mark


def three_sources(folder):
    """Mounted inside each other: the second covers a file of the first, the third one more, and has a folder where the second has a file."""
    for path, text in (("a/top", "a"), ("a/sub/x", "a"), ("a/sub/only", "a"), ("a/sub/deep/y", "a"), ("b/x", "bb"), ("b/deep", "bb"),
                       ("c/y", "ccc")):
        write(folder / path, text.encode())
    with open(os.fsencode(folder / "b") + b"/" + ODD, "wb") as f:
        f.write(b"odd")
    return file_dataset(folder / "a", extra=f"    - {{mountPath: /sub, file: {{path: {folder}/b}}}}\n"
                                            f"    - {{mountPath: /sub/deep, file: {{path: {folder}/c}}}}\n")


def conflicts(instance):
    """{kind: [(path, source), ...]}, all of them of the newest version."""
    told = {c["kind"]: c for c in instance.json("status", "data", "--conflicts")["datasets"][0]["conflicts"]}
    assert tuple(told) == KINDS
    assert all(len(c["first"]) == c["count"] and not c["earlier"] for c in told.values())
    return {kind: [(n["path"], n["source"]) for n in c["first"]] for kind, c in told.items()}


def test_sources_inside_each_other_and_their_conflicts_by_name(folder, instance):
    instance.start(three_sources(folder))
    odd = os.fsencode(instance.mount / "sub") + b"/" + ODD + b"%~q"
    with open(odd, "rb") as f:
        assert f.read() == b"odd"
    assert [(instance.mount / p).read_text() for p in ("top", "sub/x", "sub/only", "sub/deep/y", "sub/deep%~f")] == \
        ["a", "bb", "a", "ccc", "bb"]
    first = conflicts(instance)
    assert first == {"COVERED": [("sub/deep/y", 0), ("sub/x", 0)], "BESIDE": [("sub/deep%~f", 1)],
                     "ESCAPED": [("sub/\ufffd\n%~e%~q", 1)], "LEFT_OUT": []}
    said = instance.cli("status", "data", check=0).stdout
    assert "  names: 2 covered by a later source, 1 beside a folder, 1 escaped; larder status --conflicts names them\n" in said
    said = instance.cli("status", "data", "--conflicts", check=0).stdout
    assert "    covered by a later source, source 0: sub/x\n" in said and "    beside a folder, source 1: sub/deep%~f\n" in said
    assert not instance.json("status", "data")["datasets"][0]["conflicts"][0]["first"]

    os.rename(folder / "a", folder / "away")  # nothing can be listed: what the next worker tells was kept
    instance.kill_worker()
    wait_for("the conflicts again", lambda: instance.json("status", "data")["datasets"][0]["conflicts"])
    assert conflicts(instance) == first
    os.rename(folder / "away", folder / "a")
    wait_for("sources", lambda: instance.cli("sync", "data").returncode == 0)
    assert conflicts(instance) == first


def test_after_a_sync_of_a_part_the_conflicts_are_those_of_the_whole(folder, instance):
    instance.start(three_sources(folder))
    first = conflicts(instance)
    write(folder / "a/sub/deep/z", b"a")
    write(folder / "c/z", b"cc")
    write(folder / "b/only", b"")  # outside the part: not seen yet
    sync(instance, "data:/sub/deep")
    partly = conflicts(instance)
    assert partly == {**first, "COVERED": [("sub/deep/y", 0), ("sub/deep/z", 0), ("sub/x", 0)]}
    (folder / "b/x").unlink()
    sync(instance, "data:/sub/x")
    assert conflicts(instance)["COVERED"] == [("sub/deep/y", 0), ("sub/deep/z", 0)]
    for path in ("c/y", "c/z", "a/sub/deep/y", "a/sub/deep/z"):
        (folder / path).unlink()
    (folder / "a/sub/deep").rmdir()
    sync(instance, "data:/sub/only")
    assert conflicts(instance)["COVERED"] == [("sub/deep/y", 0), ("sub/deep/z", 0), ("sub/only", 0)]
    sync(instance, "data:/sub/deep")
    assert (instance.mount / "sub/deep").read_text() == "bb"
    partly = instance.json("versions", "data")["versions"][0]["version"]
    sync(instance)  # of folders outside the part, the times changed
    now = instance.json("versions", "data")["versions"][0]["version"]
    assert now == partly or not instance.cli("diff", "data", str(partly), str(now), check=0).stdout
    assert conflicts(instance) == {**first, "COVERED": [("sub/only", 0)], "BESIDE": []}


def test_what_a_part_cannot_tell_is_said_to_be_earlier(folder, instance):
    yaml = three_sources(folder)
    for i in range(120):
        write(folder / f"a/sub/many/{i:03}", b"a")
        write(folder / f"b/many/{i:03}", b"b")
    instance.start(yaml)
    (folder / "b/many/000").unlink()
    sync(instance, "data:/sub/many/000")
    covered = instance.json("status", "data", "--conflicts")["datasets"][0]["conflicts"][0]
    assert (covered["count"], covered["earlier"], len(covered["first"])) == (122, True, 100)
    assert covered["first"][1]["path"] == "sub/many/000"
    assert "122 covered by a later source (as of the last sync of everything)" in instance.cli("status", "data").stdout
    sync(instance)
    covered = instance.json("status", "data", "--conflicts")["datasets"][0]["conflicts"][0]
    assert (covered["count"], covered["earlier"], covered["first"][1]["path"]) == (121, False, "sub/many/001")


def test_the_key_of_a_file_is_an_attribute(folder, instance):
    instance.start(three_sources(folder))
    odd = os.fsencode(instance.mount / "sub") + b"/" + ODD + b"%~q"
    assert os.getxattr(odd, "user.larder.key") == ODD
    assert os.listxattr(odd) == ["user.larder.key"]
    beside = instance.mount / "sub/deep%~f"
    assert os.getxattr(beside, "user.larder.key") == b"deep"
    assert os.listxattr(beside) == ["user.larder.key"]
    assert os.getxattr(instance.mount / "sub/only", "user.larder.key") == b"sub/only"
    assert os.getxattr(instance.mount / "sub/x", "user.larder.key") == b"x"
    assert os.listxattr(instance.mount / "sub/x") == []  # its key is its path below the mount path
    for path, name in (("sub", "user.larder.key"), ("top", "user.other")):
        try:
            raise AssertionError(os.getxattr(instance.mount / path, name))
        except OSError as e:
            assert e.errno == 61, (path, name)
    stat = instance.json("stat", "data:/sub/deep%~f")
    assert (stat["key"], stat["source"]) == ("deep", 1)
    assert "key:       deep\n" in instance.cli("stat", "data:/sub/deep%~f", check=0).stdout
