"""Starts and looks at the programs under test. No test here; no sleeping for luck: everything waits for an event."""

import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
NODE_UID = 65532


NAMES = f"e2e-{os.getpid()}-"  # how the names of this run's instances begin


def build_dir():
    return pathlib.Path(os.environ.get("LARDER_BUILD", ROOT / "build"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, condition, timeout=30.0):
    """Polls until condition() is true; its value is returned."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.01)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def random_bytes(size, seed):
    return random.Random(seed).randbytes(size)


class Origin:
    """build/bench/larder-origin on a port of its own."""

    def __init__(self, root, *options):
        self.log = open(root.parent / "origin.log", "w+b")
        self.process = subprocess.Popen(
            [build_dir() / "bench/larder-origin", "--listen", "127.0.0.1:0", "--root", root, *options],
            stdout=subprocess.PIPE, stderr=self.log)
        line = self.process.stdout.readline().decode()
        assert line.startswith("listening on "), line
        self.port = int(line.rsplit(":", 1)[1])
        self.root = root
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        assert response.status < 300, (method, path, response.status, text)
        return text

    def put(self, key, data):
        self.request("PUT", f"/bucket/{key}", data)

    def delete(self, key):
        self.request("DELETE", f"/bucket/{key}")

    def fault(self, **fault):
        self.request("PUT", "/_control/fault", json.dumps(fault))

    def heal(self):
        self.request("DELETE", "/_control/fault")

    def stats(self):
        return json.loads(self.request("GET", "/_control/stats"))

    def reset(self):
        self.request("POST", "/_control/reset")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.process.stdout.close()
        self.log.close()


def s3_dataset(endpoint, name="data", bucket="bucket", extra="", source=""):
    return f"""apiVersion: larder.dev/v1alpha1
kind: Dataset
metadata: {{name: {name}}}
spec:
  sources:
    - mountPath: /
      s3: {{bucket: {bucket}, endpoint: "{endpoint}", region: us-east-1}}
      anonymous: true
{source}{extra}"""


def file_dataset(path, name="data", extra=""):
    return f"""apiVersion: larder.dev/v1alpha1
kind: Dataset
metadata: {{name: {name}}}
spec:
  sources:
    - {{mountPath: /, file: {{path: {path}}}}}
{extra}"""


class Instance:
    """One `larder up`. Its name is unique, so tests may run beside each other and beside a user's own."""

    count = 0

    def __init__(self, folder):
        Instance.count += 1
        self.name = f"{NAMES}{Instance.count}"
        self.folder = folder
        self.mount = folder / "mnt"
        self.mount.mkdir(exist_ok=True)
        self.state = folder / "state"
        self.tier = folder / "tier"
        self.tier.mkdir(exist_ok=True)
        self.run = pathlib.Path("/run/larder") / self.name
        self.up_process = None
        self.log = None
        self.metrics_port = free_port()

    def command_of(self, *args):
        return [build_dir() / "bin/larder", *args, "--instance", self.name]

    def cli(self, *args, check=None, timeout=120, **kwargs):
        """Runs `larder ARGS --instance NAME`; check: the exit code that is wanted (None: any)."""
        done = subprocess.run(self.command_of(*args), capture_output=True, text=True, timeout=timeout, **kwargs)
        if check is not None:
            assert done.returncode == check, f"larder {args}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def json(self, *args):
        return json.loads(self.cli(*args, "--output", "json", check=0).stdout)

    def command(self, yaml, options=(), disk="4Gi"):
        spec = self.folder / "dataset.yaml"
        spec.write_text(yaml)
        disks = ["--disk", f"{self.tier}:{disk}"] if disk else []
        return [build_dir() / "bin/larder", "up", "-f", spec, "--mount", self.mount, "--name", self.name, "--state",
                self.state, *disks, "--metrics", f"127.0.0.1:{self.metrics_port}", *options]

    def start(self, yaml, options=(), disk="4Gi", wait=True, timeout=60):
        self.log = open(self.folder / "up.log", "w+")
        self.up_process = subprocess.Popen(self.command(yaml, options, disk), stdin=subprocess.DEVNULL,
                                           stdout=self.log, stderr=subprocess.STDOUT)
        if wait:
            def ready():
                assert self.up_process.poll() is None, self.output()
                return "\nready; " in self.output()
            wait_for("larder up to say ready", ready, timeout)
        return self

    def try_up(self, yaml, options=(), disk="4Gi", timeout=60):
        """For mistakes: an `up` that must end by itself. Returns the finished process."""
        return subprocess.run(self.command(yaml, options, disk), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout)

    def output(self):
        self.log.flush()
        return (self.folder / "up.log").read_text()

    def supervisor_pid(self):
        return int((self.run / "node.pid").read_text())

    def worker_pid(self):
        """The worker that lives now, or 0."""
        parent = self.supervisor_pid()
        try:
            children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except OSError:
            return 0
        for pid in children:
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "larder-node-w":
                    return int(pid)
        return 0

    def kill_worker(self):
        pid = wait_for("a worker", self.worker_pid)
        os.kill(pid, signal.SIGKILL)
        wait_for("the next worker", lambda: self.worker_pid() not in (0, pid))
        return pid

    def metrics(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        values = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                key, value = line.rsplit(" ", 1)
                values[key] = float(value)
        return values

    def metric(self, name, **labels):
        for key, value in self.metrics().items():
            if key.split("{")[0] == name and all(f'{k}="{v}"' in key for k, v in labels.items()):
                return value
        raise KeyError(name)

    def down(self, *options, check=0):
        done = subprocess.run([build_dir() / "bin/larder", "down", self.name, *options], capture_output=True, text=True,
                              timeout=60)
        assert done.returncode == check, done.stdout + done.stderr
        return done

    def interrupt(self, timeout=30):
        self.up_process.send_signal(signal.SIGINT)
        return self.up_process.wait(timeout)

    def end(self):
        if self.run.exists():
            subprocess.run([build_dir() / "bin/larder", "down", self.name, "--force"], capture_output=True, timeout=60,
                           check=False)
        if self.up_process and self.up_process.poll() is None:
            self.up_process.kill()
            self.up_process.wait()
        if self.log:
            self.log.close()


def processes_of(instance):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                # A path of the instance as a whole word's part; not this test's own process.
                if int(entry.name) != os.getpid() and any(f"/{instance.name}/" in w or w == instance.name for w in words):
                    found.append(f"process {entry.name}: {' '.join(words)[:200]}")
    return found


def leftovers(instance):
    """What an instance left behind: processes, mounts, its run folder."""
    found = processes_of(instance)
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        if str(instance.folder) in line or f"/run/larder/{instance.name}" in line:
            found.append("mount: " + line)
    if instance.run.exists():
        found.append(f"folder: {instance.run}")
    return found
