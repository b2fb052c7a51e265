"""The machine under the benchmark: what it is, and what its processes cost."""

import array
import ctypes
import glob
import mmap
import os
import platform
import re
import subprocess
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")


def read(path, default=""):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return default


def first_line(*command):
    """The first line that a command prints, or ""."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""


def facts(folder):
    """[(name, value)] about the machine and the file system of @folder."""
    cpu = re.search(r"^model name\s*: (.*)$", read("/proc/cpuinfo"), re.M)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", read("/proc/meminfo"), re.M)
    distribution = re.search(r'^PRETTY_NAME="?([^"\n]*)', read("/etc/os-release"), re.M)
    mount = first_line("findmnt", "-no", "FSTYPE,SOURCE,OPTIONS", "--target", str(folder))
    huge = re.search(r"\[(\w+)\]", read("/sys/kernel/mm/transparent_hugepage/enabled"))
    return [
        ("processor", f"{cpu.group(1) if cpu else platform.machine()}, {os.cpu_count()} cores"),
        ("memory", f"{int(memory.group(1)) / 2**20:.1f} GiB" if memory else "unknown"),
        ("kernel", platform.release()),
        ("system", distribution.group(1) if distribution else "unknown"),
        ("file system of tier, copies and peers' caches", mount),
        ("TCP congestion control of every socket", read("/proc/sys/net/ipv4/tcp_congestion_control")),
        ("transparent huge pages", huge.group(1) if huge else "unknown"),
    ]


def steal_and_total():
    """Ticks that the hypervisor took, and all ticks, since boot."""
    fields = [int(x) for x in read("/proc/stat").splitlines()[0].split()[1:]]
    return fields[7], sum(fields[:8])


def processes(marker):
    """{pid: name} of the processes that have @marker in their command line."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        pid = int(path.split("/")[2])
        if pid != os.getpid() and marker in read(path).replace("\0", " "):
            found[pid] = read(f"/proc/{pid}/comm")
    return found


def cpu_seconds(pids):
    """User and system time of processes with all their threads, dead ones included. A process that is gone counts 0."""
    ticks = 0
    for pid in pids:
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if fields:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def own_memory(pids):
    """Bytes that are charged to processes and to nothing else: RssAnon + RssShmem. File pages of tiers are not among them."""
    total = 0
    for pid in pids:
        for size in re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", read(f"/proc/{pid}/status"), re.M):
            total += int(size) * 1024
    return total


MADV_POPULATE_WRITE = 23  # Linux 5.14; Python 3.11 has no name for it


def drop_names():
    """Has the kernel forget the names and inodes of all file systems that nobody holds open."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("2")


class BackedMemory:
    """Free memory that the hypervisor backs and cannot take back while this is held.

    Where a hypervisor takes free pages back (free page reporting), the first touch of a page costs more than anything that is
    measured here, and whose pass comes first decides who pays. So memory is touched, and freed but for one page in each
    stretch of the size that is reported (pageblock_order: 2 MiB): what is free between those pages is less than that, and it
    is what the kernel hands out first, since it takes the smallest free block that will do."""

    HUGE, PAGE = 2 << 20, 4096
    PRESENT, FRAME = 1 << 63, (1 << 55) - 1  # of an entry in /proc/self/pagemap

    def __init__(self, free_bytes):
        available = re.search(r"^MemAvailable:\s+(\d+) kB", read("/proc/meminfo"), re.M)
        self.size = min(free_bytes, int(available.group(1)) * 1024 // 2) // self.HUGE * self.HUGE

    def _frames(self):
        """The entry of each page of the mapping in the page table."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        entries = array.array("Q")
        with open("/proc/self/pagemap", "rb", buffering=0) as f:
            f.seek(address // self.PAGE * entries.itemsize)
            while len(entries) * self.PAGE < self.size:
                entries.frombytes(f.read(min(1 << 20, (self.size // self.PAGE - len(entries)) * entries.itemsize)))
        return entries

    def __enter__(self):
        whole = mmap.mmap(-1, self.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        whole.madvise(mmap.MADV_HUGEPAGE)  # backed by the hypervisor in huge pages too
        whole.madvise(MADV_POPULATE_WRITE)
        whole.close()
        self.memory = mmap.mmap(-1, self.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(mmap.MADV_NOHUGEPAGE)
        self.memory.madvise(MADV_POPULATE_WRITE)
        pages = self.HUGE // self.PAGE
        kept = [i for i, e in enumerate(self._frames()) if e & self.PRESENT and (e & self.FRAME) % pages == 0]
        for first, last in zip([-1] + kept, kept + [self.size // self.PAGE]):
            if last - first > 1:
                self.memory.madvise(mmap.MADV_DONTNEED, (first + 1) * self.PAGE, (last - first - 1) * self.PAGE)
        return self

    def __exit__(self, *_):
        self.memory.close()


class Watch:
    """Samples the memory of named groups of processes while rows run."""

    PERIOD_S = 0.1

    def __init__(self):
        self.groups = {}
        self.peaks = {}
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def add(self, name, pids):
        with self.lock:
            self.groups[name] = list(pids)

    def remove(self, name):
        with self.lock:
            self.groups.pop(name, None)

    def names(self):
        with self.lock:
            return list(self.groups)

    def cpu(self):
        """{group: seconds so far}"""
        with self.lock:
            groups = dict(self.groups)
        return {name: cpu_seconds(pids) for name, pids in groups.items()}

    def take_peaks(self):
        """{group: bytes}, the most since the last call."""
        self.sample()
        with self.lock:
            peaks, self.peaks = self.peaks, {}
        return peaks

    def sample(self):
        with self.lock:
            groups = dict(self.groups)
        for name, pids in groups.items():
            size = own_memory(pids)
            with self.lock:
                self.peaks[name] = max(self.peaks.get(name, 0), size)

    def run(self):
        while not self.over.wait(self.PERIOD_S):
            self.sample()

    def stop(self):
        self.over.set()
        self.thread.join()


class Costs:
    """What a stretch of time cost: CPU seconds by group, load, steal."""

    def __init__(self, watch):
        self.watch = watch

    def __enter__(self):
        self.cpu = {}
        self.load = []
        self.start = self.watch.cpu()
        self.steal_start = steal_and_total()
        self.start_s = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.start_s
        for name, now in self.watch.cpu().items():
            self.cpu[name] = max(0.0, now - self.start.get(name, 0.0))
        steal, total = steal_and_total()
        self.steal = (steal - self.steal_start[0]) / max(1, total - self.steal_start[1])
        self.load = os.getloadavg()[0]
