#!/usr/bin/env python3
"""Reads the example cold, warm, and through a kill -9 of the daemon, checks every byte, prints the three figures.

demo.py LARDER INSTANCE MOUNT OBJECTS
"""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

BLOCK = 1 << 20


def read(path, each=lambda done: None):
    """Reads a file from start to end. Returns digest, seconds, and the longest single read in seconds."""
    digest, longest, done, spent = hashlib.sha256(), 0.0, 0, 0.0
    with open(path, "rb", buffering=0) as f:
        while True:
            begin = time.monotonic()
            block = f.read(BLOCK)
            took = time.monotonic() - begin
            spent += took
            longest = max(longest, took)
            if not block:
                return digest.hexdigest(), spent, longest
            digest.update(block)
            done += len(block)
            each(done)


def main():
    larder, instance, mount, objects = sys.argv[1:]
    name = "model.safetensors"
    path, size = pathlib.Path(mount) / name, (pathlib.Path(objects) / name).stat().st_size
    want = read(pathlib.Path(objects) / name)[0]

    def run(*args):
        return subprocess.run([larder, *args, "--instance", instance], check=True, capture_output=True, text=True).stdout

    def worker():
        return json.loads(run("status", "--output", "json"))["node"]["worker_pid"]

    def report(what, seconds, digest, note=""):
        if digest != want:
            sys.exit(f"{what}: the bytes are wrong")
        print(f"  {what:34} {size / seconds / 1e6:8.0f} MB/s   sha256 right{note}", flush=True)

    print(f"\nReading {path} ({size >> 20} MiB), the time of the reads alone:", flush=True)
    digest, seconds, _ = read(path)
    report("cold: S3 fills the cache", seconds, digest)
    digest, seconds, _ = read(path)
    report("warm: this machine's own memory", seconds, digest)

    run("evict", f"example:/{name}")
    victim = worker()
    killed = threading.Event()

    def kill_half_way(done):
        if done >= size // 2 and not killed.is_set():
            os.kill(victim, signal.SIGKILL)
            killed.set()

    digest, seconds, longest = read(path, kill_half_way)
    report("cold again, kill -9 half way", seconds, digest,
           f", longest read {longest * 1000:.0f} ms (pid {victim} is now {worker()})")


if __name__ == "__main__":
    main()
