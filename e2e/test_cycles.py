"""Up and down again and again: nothing stays behind."""

import os
import pathlib

from harness import Instance, file_dataset, leftovers

CYCLES = int(os.environ.get("LARDER_CYCLES", "50"))


def inventory():
    """What a leak would show in: mounts, sockets below /run, shared memory, processes of ours."""
    programs = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name = (entry / "comm").read_text().strip()
            except OSError:
                continue
            if name.startswith("larder"):
                programs.append(name)
    mounts = [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if "larder" in line]
    run = pathlib.Path("/run/larder")
    return {"programs": sorted(programs), "mounts": mounts, "run": sorted(os.listdir(run)) if run.exists() else []}


def test_fifty_cycles_of_up_and_down_leave_nothing(folder, instance):
    (folder / "src").mkdir()
    (folder / "src/a").write_bytes(b"content")
    before = inventory()
    descriptors = len(os.listdir("/proc/self/fd"))
    for turn in range(CYCLES):
        instance.start(file_dataset(folder / "src"), options=["--dram", "64Mi"])
        assert (instance.mount / "a").read_bytes() == b"content"
        if turn % 2:
            instance.down()
            assert instance.up_process.wait(30) == 0
        else:
            assert instance.interrupt() == 0
        instance.log.close()
        assert os.listdir(instance.mount) == []
        assert leftovers(instance) == []
    for kind, left in inventory().items():
        for known in before[kind]:  # another Larder of this machine may run, or may have ended meanwhile
            if known in left:
                left.remove(known)
        assert left == [], kind
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1


def test_two_instances_run_side_by_side(folder):

    ones = []
    for name in ("left", "right"):
        (folder / name / "src").mkdir(parents=True)
        (folder / name / "src/who").write_text(name)
        ones.append(Instance(folder / name))
    try:
        for one in ones:
            one.start(file_dataset(one.folder / "src", name=one.folder.name))
        for one in ones:
            assert (one.mount / "who").read_text() == one.folder.name
            assert one.json("status")["datasets"][0]["name"] == one.folder.name
        ones[0].down()
        assert (ones[1].mount / "who").read_text() == "right"
    finally:
        for one in ones:
            one.end()
    assert [leftovers(one) for one in ones] == [[], []]
