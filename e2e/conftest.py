"""Fixtures of the end-to-end tests: real programs, real mounts, everything taken away afterwards."""

import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from harness import Origin, Instance, build_dir, leftovers, free_port


def why_not():
    if os.geteuid() != 0:
        return "needs root to mount: run it with sudo"
    if not os.path.exists("/dev/fuse"):
        return "needs /dev/fuse: load the fuse module, or pass the device into this container"
    if not (build_dir() / "bin/larder").exists():
        return "needs the programs: run make build"
    return None


def pytest_collection_modifyitems(items):
    reason = why_not()
    if reason and os.environ.get("CI") == "true":
        pytest.exit(f"end-to-end tests cannot be skipped in CI: {reason}", returncode=1)
    if reason:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def folder():
    """A folder on the disk's file system (a tier wants a real one), readable on the way for every uid."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="larder-e2e-", dir=os.environ.get("LARDER_E2E_DIR", "/var/tmp")))
    path.chmod(0o755)
    yield path
    subprocess.run(["findmnt", "-rn", "-o", "TARGET"], check=True, stdout=subprocess.DEVNULL)
    for line in reversed(pathlib.Path("/proc/self/mounts").read_text().splitlines()):
        target = line.split()[1]
        if target.startswith(str(path)):
            subprocess.run(["umount", "-l", target], check=False)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def origin(folder):
    """bench/origin: our own S3-like server with faults, serving folder/s3."""
    root = folder / "s3"
    root.mkdir()
    server = Origin(root)
    yield server
    server.stop()


@pytest.fixture
def instance(folder):
    """A Larder that is not up yet; whatever it starts is ended."""
    one = Instance(folder)
    yield one
    one.end()
    assert leftovers(one) == []


@pytest.fixture
def port():
    return free_port()
