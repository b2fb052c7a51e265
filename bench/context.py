"""What the rows share: folders, objects, stores, the reader, and what each measured pass cost."""

import json
import os
import shutil
import statistics
import subprocess
import tempfile

import machine
import programs
import s3

GIB = 1 << 30
HOT, HOT_BYTES = "hot", 1 * GIB
COLD, COLD_BYTES = "cold", 2 * GIB
SIZES = {HOT: HOT_BYTES, COLD: COLD_BYTES}
SECTION_S = 0.5  # of one timed pass over hot data


class Context:
    """Lives for the whole run. What is dear is made when a row first asks for it, and taken away by close()."""

    def __init__(self, build, work, larder, rounds):
        self.build, self.work, self.larder, self.rounds = build, work, larder, rounds
        self.watch = machine.Watch()
        self.instances = 0
        self.sums = {}  # CRC32C of each object, as hexadecimal
        self.costs = {"ours": [], "theirs": []}  # of the passes in the row that runs
        self.peak_node = 0  # bytes: the most that larder-node held in any row
        self.tables = []  # of tables_runs()
        self._store = self._hot = None
        self.copies = work / "copies"
        self.copies.mkdir()

    # ---- tools ----

    def tool(self, name, *words, timeout=300):
        """Runs a program of bench/ and answers its JSON. @timeout in seconds."""
        command = [str(self.build / "bench" / name), *map(str, words)]
        env = {**os.environ, "AWS_ACCESS_KEY_ID": programs.KEYS[0], "AWS_SECRET_ACCESS_KEY": programs.KEYS[1]}
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=timeout, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or f"{name} failed with {done.returncode}")
        return json.loads(done.stdout)

    def read(self, path, *words):
        return self.tool("larder-reader", "--file", path, *words)

    def make_tables(self, *words):
        """What larder-tables says of manifests in a folder that is gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            return self.tool("larder-tables", "--folder", folder, *words, timeout=900)

    def sum_of(self, path):
        return self.read(path, "--crc")["crc"][0]

    def check_sum(self, path, key):
        """Every byte of @path, outside of anything timed."""
        got = self.sum_of(path)
        if got != self.sums[key]:
            raise RuntimeError(f"wrong bytes: {path} sums to {got}, {key} to {self.sums[key]}")

    def ours(self, what):
        """Runs a measured pass of ours and keeps what it cost. @what answers a dict with cpu_seconds of the reader."""
        return self._pass("ours", what)

    def theirs(self, what):
        """The same for a pass of the limit or of a peer."""
        return self._pass("theirs", what)

    def _pass(self, whose, what):
        with machine.Costs(self.watch) as costs:
            result = what()
        costs.cpu["reader"] = result["cpu_seconds"]
        self.costs[whose].append(costs)
        return result

    def take_costs(self):
        """({"ours" or "theirs": {group: CPU seconds, the median of its passes}}, load, steal), load and steal the most, since
        the last call."""
        costs, self.costs = self.costs, {"ours": [], "theirs": []}
        cpu = {}
        for whose, passes in costs.items():
            groups = sorted({name for c in passes for name in c.cpu})
            cpu[whose] = {name: statistics.median(c.cpu.get(name, 0.0) for c in passes) for name in groups}
        both = costs["ours"] + costs["theirs"]
        return cpu, max((c.load for c in both), default=os.getloadavg()[0]), max((c.steal for c in both), default=0.0)

    # ---- objects and stores ----

    def copy(self, key):
        """A file with the bytes of an object on the tier's file system: the native side of a comparison."""
        path = self.copies / key
        if not path.exists():
            origin = programs.Origin(self, {key: SIZES[key]})
            try:
                self.tool("larder-ranges", "--url", f"{origin.url}/{programs.BUCKET}/{key}", "--size", SIZES[key],
                          "--out", path)
            finally:
                origin.stop()
        self.sums.setdefault(key, self.sum_of(path))
        return path

    def store(self):
        """The S3 server, with both objects in it."""
        if not self._store:
            self._store = programs.Versitygw(self)
            s3.make_bucket(self._store.address, programs.BUCKET, programs.KEYS)
            for key in SIZES:
                s3.put_file(self._store.address, programs.BUCKET, key, programs.KEYS, self.copy(key))
            os.sync()
        return self._store

    def warm_store(self, key):
        """The server's file into the page cache, so that its disk is not what is measured."""
        self.read(self.work / "s3" / programs.BUCKET / key)

    def hot(self):
        """An instance that holds the hot file complete."""
        if not self._hot:
            larder = programs.Larder(self, self.store())
            self._hot = larder
            larder.up()
            self.check_sum(larder.mount / HOT, HOT)
            larder.wait_sealed(HOT_BYTES)
        return self._hot

    def hot_files(self):
        """(mount's file, the tier's file under it): one set of pages, in the page cache by one sequential read from the disk.
        Two files would differ in what they are compared by: the physical memory that each one's pages got."""
        larder = self.hot()
        native, mounted = larder.tier_file(HOT_BYTES), larder.mount / HOT
        forget(native)
        self.check_sum(mounted, HOT)
        return mounted, native

    def drop_hot(self):
        if self._hot:
            larder, self._hot = self._hot, None
            larder.down()

    def close(self):
        try:
            self.drop_hot()
        finally:
            if self._store:
                self._store.stop()
            self.watch.stop()
            shutil.rmtree(self.work, ignore_errors=True)


def forget(path):
    """Writes a file back and drops its pages, and nobody else's."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
