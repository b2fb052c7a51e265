"""A reader process for the survival tests: reads without end, checks every byte, and reports as JSON when told to stop.

usage: readers.py KIND FILE REFERENCE SEED    KIND: pread, direct, mmap, names
"names" lists and opens the folder FILE, whose files hold their own names, instead.
SIGTERM ends it. The report: operations, errors, wrong (bytes that differ), and slow: [begin, end] of operations over 20 ms
(CLOCK_MONOTONIC, the same in all processes).
"""

import json
import mmap
import os
import random
import signal
import sys
import time

SLOW = 0.02


class Report:
    def __init__(self):
        self.operations = 0
        self.errors = []
        self.wrong = []
        self.slow = []
        self.stop = False

    def timed(self, call):
        begin = time.monotonic()
        value = call()
        end = time.monotonic()
        self.operations += 1
        if end - begin > SLOW:
            self.slow.append([begin, end])
        return value


def check(report, reference, offset, data, length):
    if data != os.pread(reference, length, offset):
        report.wrong.append([offset, length, len(data)])


def read_some(report, path, reference, size, rng, direct):
    fd = report.timed(lambda: os.open(path, os.O_RDONLY | (os.O_DIRECT if direct else 0)))
    try:
        for _ in range(16):
            length = 4096 * rng.randrange(1, 65)
            offset = rng.randrange(0, (size - length) // 4096) * 4096
            if direct:
                buffer = mmap.mmap(-1, length)
                got = report.timed(lambda: os.preadv(fd, [buffer], offset))
                data = buffer[:got]
                buffer.close()
            else:
                data = report.timed(lambda: os.pread(fd, length, offset))
            check(report, reference, offset, data, length)
            if report.stop:
                return
    finally:
        os.close(fd)


def map_some(report, path, reference, size, rng):
    fd = report.timed(lambda: os.open(path, os.O_RDONLY))
    with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as view:
        os.close(fd)
        for _ in range(16):
            length = rng.randrange(1, 1 << 16)
            offset = rng.randrange(0, size - length)
            data = report.timed(lambda: view[offset:offset + length])
            check(report, reference, offset, data, length)


def name_some(report, path, expected, rng):
    names = report.timed(lambda: sorted(os.listdir(path)))
    if names != expected:
        report.wrong.append(["names", len(names), len(expected)])
    for name in rng.sample(expected, 3):
        full = os.path.join(path, name)
        if report.timed(lambda: os.stat(full)).st_size != len(name):
            report.wrong.append(["size", name])

        def whole():
            with open(full, "rb") as f:
                return f.read()
        if report.timed(whole) != name.encode():
            report.wrong.append(["content", name])


def main():
    kind, path, reference_path, seed = sys.argv[1:]
    report = Report()
    rng = random.Random(int(seed))
    signal.signal(signal.SIGTERM, lambda *_: setattr(report, "stop", True))
    expected = sorted(os.listdir(reference_path)) if kind == "names" else []
    reference = -1 if kind == "names" else os.open(reference_path, os.O_RDONLY)
    size = 0 if kind == "names" else os.fstat(reference).st_size
    print("reading", flush=True)
    while not report.stop:
        try:
            if kind == "names":
                name_some(report, path, expected, rng)
            elif kind == "mmap":
                map_some(report, path, reference, size, rng)
            else:
                read_some(report, path, reference, size, rng, kind == "direct")
        except OSError as error:
            report.errors.append(str(error))
    print(json.dumps({"kind": kind, "operations": report.operations, "errors": report.errors[:10], "wrong": report.wrong[:10],
                      "slow": report.slow}))


if __name__ == "__main__":
    main()
