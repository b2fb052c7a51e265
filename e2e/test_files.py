"""The file source: what becomes of symbolic links, hard links and special files."""

import os
import signal
import subprocess

import pytest

from harness import file_dataset, wait_for


@pytest.fixture
def tree(folder):
    root = folder / "src"
    (root / "deep").mkdir(parents=True)
    (root / "deep/a").write_bytes(b"a" * 5000)
    (folder / "outside").write_bytes(b"never shown")
    os.link(root / "deep/a", root / "hard")
    os.symlink("deep/a", root / "inside")
    os.symlink("deep", root / "folder")
    os.symlink("..", root / "deep/circle")
    os.symlink("../outside", root / "out")
    os.mkfifo(root / "pipe")
    return root


def dataset(root, symlinks):
    return file_dataset(root).replace("}}", f", symlinks: {symlinks}}}}}")


def test_links_are_followed_inside_the_folder_and_nowhere_else(tree, instance):
    instance.start(dataset(tree, "Follow"))
    assert sorted(os.listdir(instance.mount)) == ["deep", "folder", "hard", "inside"]
    for name in ("deep/a", "folder/a", "hard", "inside"):
        assert (instance.mount / name).read_bytes() == b"a" * 5000
        assert not (instance.mount / name).is_symlink()
    assert sorted(os.listdir(instance.mount / "folder")) == ["a"]
    warnings = instance.json("status")["datasets"][0]["warnings"]
    # pipe, out, deep/circle, and the same once more by way of folder
    assert "4 special files or links of source 0 were left out" in warnings


def test_links_are_kept_as_they_are(tree, instance):
    instance.start(dataset(tree, "Keep"))
    assert os.readlink(instance.mount / "inside") == "deep/a"
    assert os.readlink(instance.mount / "out") == "../outside"
    assert not (instance.mount / "pipe").exists()


def test_links_are_left_out_and_counted(tree, instance):
    instance.start(dataset(tree, "Skip"))
    assert sorted(os.listdir(instance.mount)) == ["deep", "hard"]
    assert "5 special files or links of source 0 were left out" in wait_for(
        "status", lambda: instance.json("status")["datasets"][0]["warnings"])


def test_the_names_of_a_folder_bring_their_attributes_so_that_nobody_is_asked_for_them(folder, instance):
    root = folder / "many"
    root.mkdir()
    for i in range(3000):  # many times what one answer holds
        (root / f"file-{i:04}").write_bytes(b"x" * i)
    instance.start(file_dataset(root))
    names = os.listdir(instance.mount)
    assert len(names) == 3000
    pids = [instance.supervisor_pid(), instance.worker_pid()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        done = subprocess.run(["stat", "-c", "%s", *names], cwd=instance.mount, capture_output=True, timeout=30, check=True)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert sorted(map(int, done.stdout.split())) == list(range(3000))
