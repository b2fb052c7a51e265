"""`find` over a tree of many small files: ours beside the mounts of rclone and s3fs, all three of one store."""

import contextlib
import hashlib
import os
import resource
import statistics
import subprocess
import time

import machine
import programs
import rounds
from rounds import Figure

FOLDERS, FILES_A_FOLDER = 100, 1000
COUNT = FOLDERS * FILES_A_FOLDER
SETTLED_S, QUIET_S = 20, 0.3
PEERS = (programs.Rclone, programs.S3fs)


def size_of(i):
    return 100 + i * 7919 % 900


BYTES = sum(size_of(i) for i in range(COUNT))


def fill(bucket):
    """Files as versitygw keeps its objects, etags among their attributes: uploads would take minutes."""
    for i in range(COUNT):
        name = f"n{1440764 + i // FILES_A_FOLDER * 37:08d}"
        path = bucket / "train" / name / f"{name}_{i % FILES_A_FOLDER:05d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size_of(i)))
        os.setxattr(path, "user.etag", hashlib.md5(path.name.encode()).hexdigest().encode())


def find(mount):
    """Seconds of a `find` that asks for the size of every file."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    done = subprocess.run(["find", str(mount), "-type", "f", "-printf", "%s\\n"], stdout=subprocess.PIPE, timeout=600, check=True)
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    sizes = [int(line) for line in done.stdout.split()]
    if len(sizes) != COUNT or sum(sizes) != BYTES:
        raise RuntimeError(f"find saw {len(sizes)} files of {sum(sizes)} bytes in {mount}, not {COUNT} of {BYTES}")
    return {"seconds": seconds, "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def drop_names(watch):
    """Has the kernel drop names and inodes, and waits until all have answered its telling them so. What they hold themselves
    stays."""
    machine.drop_names()
    before = None
    end = time.monotonic() + SETTLED_S
    while before != (now := watch.cpu()) and time.monotonic() < end:
        before = now
        time.sleep(QUIET_S)


class Mounts:
    """The three, mounted, each of them looked through once."""

    def __init__(self, ctx, ours, peers):
        self.ctx, self.ours, self.peers = ctx, ours, peers
        self.first = [(name, find(mount)["seconds"]) for name, mount in (("ours", ours.mount), *((p.name, p.mount) for p in peers))]
        self.seconds = {peer.name: [] for peer in peers}

    def ours_pass(self):
        drop_names(self.ctx.watch)
        return COUNT / self.ctx.ours(lambda: find(self.ours.mount))["seconds"]

    def _peers(self):
        results = [find(peer.mount) for peer in self.peers]
        for peer, result in zip(self.peers, results):
            self.seconds[peer.name].append(result["seconds"])
        return {"seconds": min(r["seconds"] for r in results), "cpu_seconds": sum(r["cpu_seconds"] for r in results)}

    def peers_pass(self):
        """Of the faster one."""
        drop_names(self.ctx.watch)
        return COUNT / self.ctx.theirs(self._peers)["seconds"]

    def notes(self):
        first = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in self.first)
        again = ", ".join(f"{name} {statistics.median(seconds):.3g} s" for name, seconds in self.seconds.items())
        return [f"the peers, medians: {again}; the first find of a new mount, once: {first}"]


def figure(ctx):
    with contextlib.ExitStack() as stack:
        store = programs.Versitygw(ctx, "versitygw-tree")
        stack.callback(store.stop)
        fill(store.folder / programs.BUCKET)
        ours = stack.enter_context(programs.Larder(ctx, store))
        mounts = Mounts(ctx, ours, [stack.enter_context(kind(ctx, store)) for kind in PEERS])
        done = rounds.run(ctx.rounds, mounts.ours_pass, mounts.peers_pass)
    turned = Figure.of_rounds(done, "k files/s", 1e3)
    result = Figure([1 / ratio for ratio in turned.values], mounts.notes() + turned.notes, ours=turned.limit, limit=turned.ours)
    result.steady = turned.steady
    return result
