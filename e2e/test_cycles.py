"""Up and down again and again: nothing stays behind."""

import os
import pathlib

from harness import NAMES, Instance, build_dir, file_dataset, leftovers

CYCLES = int(os.environ.get("LARDER_CYCLES", "50"))


def inventory():
    """What a leak of this run would show in: programs of this build, mounts and run folders under this run's names."""
    programs = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                program = os.readlink(entry / "exe").removesuffix(" (deleted)")
            except OSError:
                continue
            if program.startswith(f"{build_dir().resolve()}/"):
                programs.append(program)
    mounts = [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if f"/run/larder/{NAMES}" in line]
    run = pathlib.Path("/run/larder")
    folders = [name for name in os.listdir(run) if name.startswith(NAMES)] if run.exists() else []
    return {"programs": sorted(programs), "mounts": mounts, "run": sorted(folders)}


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
        for known in before[kind]:  # servers that the tests share
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
