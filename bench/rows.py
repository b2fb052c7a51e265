"""The rows of the table: each says what it measures and what it must reach, and answers a Figure."""

import collections
import contextlib
import json
import shutil
import signal
import subprocess
import threading
import time

import finds
import machine
import programs
import rounds
import trees
from context import COLD, COLD_BYTES, HOT, HOT_BYTES, SECTION_S, forget
from rounds import Figure

MIB = 1 << 20
CAP = 500_000_000  # bytes a second of the capped origin
FAR_CAP, FAR_FIRST_MS, FAR_CONNECTION = 600_000_000, 20, 90_000_000  # of the far one: in all, to the first byte, of each connection
COLD_MEMORY = 2 * COLD_BYTES + 1024 * MIB  # page cache that a cold pass fills (the tier's file, the mounted file), and some
SWEEP = (1, 2, 4, 8, 16, 32)  # connections
SINGLE_FLIGHT_READERS = 32
IDLE_S = 60

Row = collections.namedtuple("Row", "name title against unit must goal more_is_better run")
ROWS = []


def row(name, title, against, must, goal, more_is_better=True, unit=""):
    """Registers a row. The table shows them in the order they stand in here, and that is the order they run in. Without @must and
    @goal it shows a figure that nothing is asked of."""

    def register(run):
        ROWS.append(Row(name, title, against, unit, must, goal, more_is_better, run))
        return run

    return register


def byte_rate(result):
    return result["bytes"] / result["seconds"]


def op_rate(result):
    return result["ops"] / result["seconds"]


# ---- hot ----


def hot_row(ctx, mode, rate, unit, scale):
    mounted, native = ctx.hot_files()
    words = ("--mode", mode, "--seconds", SECTION_S)
    for path in (mounted, native):  # once untimed, so that the first round is like the others
        ctx.read(path, *words)
    latencies = []

    def ours():
        result = ctx.ours(lambda: ctx.read(mounted, *words))
        latencies.append(result)
        return rate(result)

    done = rounds.run(ctx.rounds, lambda: rate(ctx.theirs(lambda: ctx.read(native, *words))), ours)
    figure = Figure.of_rounds(done, unit, scale)
    middle = sorted(latencies, key=lambda r: r["p50_us"])[len(latencies) // 2]
    figure.notes.insert(0, f"p50 {middle['p50_us']:.4g} us, p99 {middle['p99_us']:.4g} us")
    return figure


@row("hot-seq", "hot, complete: sequential 1 MiB", "native ext4", 0.80, 0.97)
def hot_seq(ctx):
    return hot_row(ctx, "seq", byte_rate, "GiB/s", 2**30)


@row("hot-rand4k", "hot, complete: random 4 KiB, one at a time", "native ext4", 0.85, 0.97)
def hot_rand4k(ctx):
    return hot_row(ctx, "rand", op_rate, "k reads/s", 1e3)


@row("hot-mmaprand", "hot, complete: random pages of a map", "native ext4", 0.95, 1.0)
def hot_mmaprand(ctx):
    return hot_row(ctx, "mmaprand", op_rate, "k pages/s", 1e3)


# ---- nobody there ----

STOPPED_READS = (("seq",), ("rand", "--bytes", 256 * MIB), ("mmapseq",), ("mmaprand", "--bytes", 256 * MIB))


class HeldReader:
    """A reader that has opened and mapped its file and waits for the word."""

    def __init__(self, ctx, path, words):
        command = [str(ctx.build / "bench/larder-reader"), "--file", str(path), "--hold", "--crc", "--mode",
                   *map(str, words)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{' '.join(command)} did not open its file")

    def go(self):
        """Its sum, or "" when no answer came within 30 s."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        lines = []
        waiter = threading.Thread(target=lambda: lines.append(self.process.stdout.readline()), daemon=True)
        waiter.start()
        waiter.join(30)
        return json.loads(lines[0])["crc"][0] if lines and lines[0] else ""

    def end(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


@row("sigstop", "the same reads, supervisor, worker and mounter stopped: right sums", "reads", 1.0, 1.0)
def sigstop(ctx):
    mounted, native = ctx.hot_files()
    larder = ctx.hot()
    right = []
    for _ in range(ctx.rounds):
        wanted = [ctx.read(native, "--crc", "--mode", *words)["crc"][0] for words in STOPPED_READS]
        readers = [HeldReader(ctx, mounted, words) for words in STOPPED_READS]
        larder.signal(signal.SIGSTOP)
        try:
            got = [reader.go() for reader in readers]
        finally:
            larder.signal(signal.SIGCONT)
            for reader in readers:
                reader.end()
        right.append(sum(g == w for g, w in zip(got, wanted)) / len(wanted))
    figure = Figure([min(right)], [f"{len(right)} times {len(STOPPED_READS)} reads: pread and map, in order and at random"])
    return figure


# ---- peers ----


@contextlib.contextmanager
def hot_peer(ctx, kind):
    """A peer whose cache holds the whole file, that cache in the page cache by one sequential read."""
    with kind(ctx, ctx.store()) as peer:
        mounted = peer.mount / HOT
        ctx.check_sum(mounted, HOT)
        for path in peer.cache_files(HOT_BYTES):
            forget(path)
            ctx.read(path)
        yield mounted


def peer_row(ctx, kind, mode, rate, unit, scale):
    ours_path, _ = ctx.hot_files()
    words = ("--mode", mode, "--seconds", SECTION_S, "--drop")
    with hot_peer(ctx, kind) as peer_path:

        def ours():  # again and again: once through the file is too short to time
            return rate(ctx.ours(lambda: ctx.read(ours_path, *words)))

        def peer():  # once through the file at most
            return rate(ctx.theirs(lambda: ctx.read(peer_path, *words, "--bytes", HOT_BYTES)))

        # What stands on both sides is ours here: a peer is compared with the mean of the two passes around it.
        done = rounds.run(ctx.rounds, ours, peer)
    turned = Figure.of_rounds(done, unit, scale)
    figure = Figure([1 / ratio for ratio in turned.values], turned.notes, ours=turned.limit, limit=turned.ours)
    figure.steady = turned.steady
    return figure


@row("rclone-seq", "beside rclone mount, hot: sequential 1 MiB", "rclone", 2.0, 5.0, unit="x")
def rclone_seq(ctx):
    return peer_row(ctx, programs.Rclone, "seq", byte_rate, "GiB/s", 2**30)


@row("rclone-rand4k", "beside rclone mount, hot: random 4 KiB", "rclone", 10.0, 15.0, unit="x")
def rclone_rand4k(ctx):
    return peer_row(ctx, programs.Rclone, "rand", op_rate, "k reads/s", 1e3)


@row("s3fs-seq", "beside s3fs, hot: sequential 1 MiB", "s3fs", 2.0, 5.0, unit="x")
def s3fs_seq(ctx):
    return peer_row(ctx, programs.S3fs, "seq", byte_rate, "GiB/s", 2**30)


@row("s3fs-rand4k", "beside s3fs, hot: random 4 KiB", "s3fs", 10.0, 15.0, unit="x")
def s3fs_rand4k(ctx):
    return peer_row(ctx, programs.S3fs, "rand", op_rate, "k reads/s", 1e3)


# ---- cold ----


def cold_pass(ctx, store, key):
    """Bytes a second of one sequential read through a mount that was made for it, over an empty cache."""
    with programs.Larder(ctx, store) as larder:
        result = ctx.ours(lambda: ctx.read(larder.mount / key))
        ctx.check_sum(larder.mount / key, key)
    return byte_rate(result)


def capped_row(ctx, cap, **origin_words):
    """The share of an origin's cap that a mount reaches."""
    ctx.drop_hot()
    ctx.copy(COLD)
    origin = programs.Origin(ctx, {COLD: COLD_BYTES}, cap, **origin_words)
    try:
        with machine.BackedMemory(COLD_MEMORY):
            rates = [cold_pass(ctx, origin, COLD) for _ in range(ctx.rounds)]
    finally:
        origin.stop()
    rate = sorted(rates)[len(rates) // 2]
    return Figure([r / cap for r in rates], ours=f"{rate / 1e6:.4g} MB/s", limit=f"{cap / 1e6:.4g} MB/s")


@row("cold-capped", "cold sequential 2 GiB, origin capped at 500 MB/s", "the cap", 0.95, 0.99)
def cold_capped(ctx):
    return capped_row(ctx, CAP)


@row("cold-far", "cold sequential 2 GiB, origin capped at 600 MB/s, 90 MB/s a connection, 20 ms to the first byte", "the cap", 0.85, 0.95)
def cold_far(ctx):
    return capped_row(ctx, FAR_CAP, connection_rate=FAR_CONNECTION, first_byte_ms=FAR_FIRST_MS)


def ranges_pass(ctx, store, connections, check=False):
    """Bytes a second of parallel ranged requests, written to the tier's file system."""
    out = ctx.copies / "ranges.tmp"
    try:
        result = ctx.theirs(lambda: ctx.tool("larder-ranges", "--url", f"{store.url}/{programs.BUCKET}/{COLD}", "--size",
                                             COLD_BYTES, "--out", out, "--connections", connections))
        if check:
            ctx.check_sum(out, COLD)
    finally:
        out.unlink(missing_ok=True)
    return byte_rate(result)


@row("cold-uncapped", "cold sequential 2 GiB, versitygw", "best of 1 to 32 ranged curls", 0.55, 0.8)
def cold_uncapped(ctx):
    ctx.drop_hot()
    store = ctx.store()
    ctx.warm_store(COLD)
    with machine.BackedMemory(COLD_MEMORY):
        rates = {n: ranges_pass(ctx, store, n, check=True) for n in SWEEP}
        best = sorted(rates, key=rates.get)[-2:]
        done = rounds.run(ctx.rounds, lambda: max(ranges_pass(ctx, store, n) for n in best),
                          lambda: cold_pass(ctx, store, COLD))
    figure = Figure.of_rounds(done, "MB/s", 1e6)
    swept = ", ".join(f"{n}: {rate / 1e6:.0f}" for n, rate in rates.items())
    figure.notes.insert(0, f"connections and their MB/s when swept: {swept}; the better of the best two in each pass")
    return figure


@row("single-flight", "32 readers of one cold 1 GiB file: origin bytes", "the file's size", 1.01, 1.0, False)
def single_flight(ctx):
    ctx.drop_hot()
    ctx.copy(HOT)
    shares, seconds = [], []
    origin = programs.Origin(ctx, {HOT: HOT_BYTES})
    try:
        for _ in range(min(3, ctx.rounds)):
            with programs.Larder(ctx, origin) as larder:
                origin.control("reset", "POST")
                result = ctx.ours(lambda: ctx.read(larder.mount / HOT, "--jobs", SINGLE_FLIGHT_READERS, "--crc"))
                if set(result["crc"]) != {ctx.sums[HOT]}:
                    raise RuntimeError(f"readers saw wrong bytes: {sorted(set(result['crc']))}")
                larder.wait_sealed(HOT_BYTES)
                shares.append(origin.bytes_sent() / HOT_BYTES)
                seconds.append(result["seconds"])
    finally:
        origin.stop()
    return Figure(shares, [f"{SINGLE_FLIGHT_READERS} readers done in {sorted(seconds)[len(seconds) // 2]:.3g} s"])


# ---- listing ----

LISTED, LISTED_KEYS, LISTED_FIRST_MS, LISTED_RANGES = "train/x", 1_000_000, 50, 16
OTHERS_KEYS = 100_000  # a tenth for clients that ask for one page after the other: they take minutes for a million


def bare_listing(ctx, origin):
    """Keys a second of parallel requests that know where to cut."""
    step = LISTED_KEYS // LISTED_RANGES
    cuts = [word for i in range(1, LISTED_RANGES) for word in ("--cut", f"{LISTED}-{i * step - 1:07d}")]
    result = ctx.theirs(lambda: ctx.tool("larder-lister", "--url", f"{origin.url}/{programs.BUCKET}", *cuts))
    if result["keys"] != LISTED_KEYS:
        raise RuntimeError(f"the bare client counted {result['keys']} keys")
    return LISTED_KEYS / result["seconds"]


def synced_listing(ctx, origin):
    """Keys a second from `larder up` of a new dataset to its mount: processes, listing, manifest, head."""

    def up():
        start = time.monotonic()
        larder.up()
        return {"seconds": time.monotonic() - start, "cpu_seconds": 0.0}

    larder = programs.Larder(ctx, origin)
    try:
        result = ctx.ours(up)
        for i in (0, 77_777, LISTED_KEYS - 1):
            if (larder.mount / f"{LISTED}-{i:07d}").stat().st_size != 4096:
                raise RuntimeError(f"key {i} is not right in the mount")
    finally:
        larder.down()
    return LISTED_KEYS / result["seconds"]


def other_listings(ctx):
    """Keys a second of clients of other hands, once each, in words."""
    words = []
    origin = programs.Origin(ctx, {LISTED: f"4096x{OTHERS_KEYS}"}, first_byte_ms=LISTED_FIRST_MS)
    try:
        others_list(ctx, origin, words)
    finally:
        origin.stop()
    return words


def others_list(ctx, origin, words):
    for name, run in ("rclone lsf", programs.rclone_listing), ("boto3", programs.boto3_listing):
        start = time.monotonic()
        try:
            count = run(ctx, origin)
        except programs.Missing as reason:
            words.append(f"{name}: {reason}")
            continue
        if count != OTHERS_KEYS:
            raise RuntimeError(f"{name} counted {count} keys")
        words.append(f"{name} {count / (time.monotonic() - start) / 1e3:.3g} k keys/s")


@row("cold-listing", "cold listing of 1 M keys, 50 ms to the first byte of a page: `larder up` to the mount",
     "16 bare ListObjectsV2 that know the cuts", 0.85, 0.97)
def cold_listing(ctx):
    ctx.drop_hot()
    origin = programs.Origin(ctx, {LISTED: f"4096x{LISTED_KEYS}"}, first_byte_ms=LISTED_FIRST_MS)
    try:
        done = rounds.run(ctx.rounds, lambda: bare_listing(ctx, origin), lambda: synced_listing(ctx, origin))
    finally:
        origin.stop()
    figure = Figure.of_rounds(done, "k keys/s", 1e3)
    figure.notes.insert(0, f"of {OTHERS_KEYS // 1000} k keys {', '.join(other_listings(ctx))}")
    return figure


@row("find", "`find` with sizes over 100 000 files, names and inodes dropped from the kernel", "rclone or s3fs, the faster", 3.0, 10.0,
     unit="x")
def find(ctx):
    ctx.drop_hot()
    return finds.figure(ctx)


# ---- policy ----

FIVE_TRACES = ("zipf-0.9", "zipf-scan", "loop", "shuffle", "public")


def best_of(policies):
    """The best hit ratio of a policy that can be had (Belady's knows the future) other than ours."""
    return max(value["hit"] for name, value in policies.items() if name not in ("larder", "belady"))


@row("policy-hits", "hit ratio on five traces, room for 10 % and 50 %: the worst", "best other policy of the simulator", 0.95, 0.98)
def policy_hits(ctx):
    result = ctx.tool("larder-policy", "--no-speed", "--file", programs.public_trace())
    ratios, notes = [], [f"seed {result['seed']}; hit ratios, then ours / best other; Belady is a bound"]
    for trace in result["traces"]:
        policies = trace["policies"]
        ours, best = policies["larder"]["hit"], best_of(policies)
        ratio = ours / best if best else 1.0  # a loop much longer than the room: nobody else hits at all
        if trace["name"] in FIVE_TRACES:
            ratios.append(min(ratio, 1.0))
        words = ", ".join(f"{name} {value['hit']:.4f}" for name, value in policies.items())
        notes.append(f"{trace['name']} at {trace['room_of_100']} %: {words}; {ratio:.3f}")
    return Figure([min(ratios)], notes)


@row("policy-speed", "lookups a second a core, a million objects", "own figure", 3.0, 10.0, unit="M/s")
def policy_speed(ctx):
    speeds = [ctx.tool("larder-policy", "--no-traces")["speed"] for _ in range(ctx.rounds)]
    evict = sorted(speed["evict_ns"] for speed in speeds)[len(speeds) // 2]
    return Figure([speed["lookups_per_s"] / 1e6 for speed in speeds],
                  [f"under an uncontended lock, Zipf 0.9; a victim and the object in its place {evict:.0f} ns"])


# ---- tables ----

TABLES, TABLES_CHANGES = 10_000_000, 10_000  # files, and those of them that the second version has otherwise
TABLES_MEMORY = 6 << 30  # page cache that 10 M files fill: the builder's spool and the chunks of both versions
LARGE = 100_000_000
LARGE_DISK = 24 << 30  # bytes: spool and chunks


def tables_runs(ctx):
    """The same two versions of 10 M files a few times over: four rows look at them."""
    if not ctx.tables:
        with machine.BackedMemory(TABLES_MEMORY):
            ctx.tables = [ctx.make_tables("--count", TABLES, "--changes", TABLES_CHANGES) for _ in range(min(3, ctx.rounds))]
    return ctx.tables


def build_costs(results):
    """What the builds took besides time, in words."""
    cpu = sorted(r["build_cpu_s"] / r["files"] for r in results)[len(results) // 2]
    return f"{cpu * 1e9:.0f} ns of CPU a file, at most {max(r['memory'] for r in results) / MIB:.3g} MiB of memory"


@row("tables-bytes", "a manifest of 10 M regular names, 16-byte validators, all of an entry", "bytes a file", 44, 32, False, "B")
def tables_bytes(ctx):
    runs = tables_runs(ctx)
    result = runs[0]
    return Figure([result["bytes"] / result["files"]],
                  [f"{result['chunks']} chunks; {TABLES_CHANGES} changes among them add {result['added_bytes'] / MIB:.3g} MiB"])


@row("tables-contents", "the same of the files that Debian's packages hold (Contents-amd64)", "bytes a file", 60, 44, False, "B")
def tables_contents(ctx):
    result = ctx.make_tables("--paths", programs.debian_contents(), "--count", LARGE, "--changes", 0)
    return Figure([result["bytes"] / result["files"]],
                  [f"{result['files']:,} files in {result['entries'] - result['files']:,} folders".replace(",", " ")])


def tables_tree(name, title, tree, random_words):
    @row(name, f"the same of {title}", "bytes a file", None, None, False, "B")
    def run(ctx):
        paths = trees.write(tree, ctx.work / name)
        try:
            result = ctx.make_tables("--paths", paths, "--count", LARGE, "--changes", 0)
        finally:
            paths.unlink()
        count = f"{result['files']:,} files in {result['entries'] - result['files']:,} folders".replace(",", " ")
        return Figure([result["bytes"] / result["files"]], [f"{count}; nothing can shorten the 16 of a validator{random_words}"])

    return run


tables_tree("tables-imagenet", "an ImageNet-like tree (n01440764/n01440764_10026.JPEG)", trees.imagenet, "")
tables_tree("tables-lake", "a lake partitioned as Hive does (year=/month=/day=/part-00000-UUID-c000.snappy.parquet)", trees.lake,
            f" and the 15 of a UUID for {trees.LAKE_PARTS} files")
tables_tree("tables-hub", "a cache of Hugging Face's (models--org--name/snapshots/SHA/..., blobs/SHA)", trees.hub,
            ", and half of the files are named by a random 20 or 32")
tables_tree("tables-uuid", "random UUIDs in one folder", trees.uuids, " and the 15 of a UUID, less about 2 for their order")


@row("tables-build", "a manifest of 10 M files, listed in order: files a second", "own figure", 1.0, 3.0, unit="M/s")
def tables_build(ctx):
    runs = tables_runs(ctx)
    return Figure([r["files"] / r["build_s"] / 1e6 for r in runs], [build_costs(runs)])


@row("tables-decode", "the entries of 10 M files decoded in order, warm", "own figure", 50, 120, unit="M/s")
def tables_decode(ctx):
    return Figure([r["entries"] / r["decode_s"] / 1e6 for r in tables_runs(ctx)], ["one thread"])


@row("tables-diff", "two versions of 10 M files compared, 0.1 % of them changed", "own figure", 1.0, 0.3, False, "s")
def tables_diff(ctx):
    runs = tables_runs(ctx)
    if any(r["changed"] != TABLES_CHANGES for r in runs):
        raise RuntimeError(f"{[r['changed'] for r in runs]} changes were found of {TABLES_CHANGES}")
    return Figure([r["diff_s"] for r in runs])


@row("tables-lookup", "a path looked up among 100 M, at random, warm: p50", "own figure", 6, 3, False, "us")
def tables_lookup(ctx):
    if shutil.disk_usage(ctx.work).free < LARGE_DISK:
        raise programs.Missing(f"100 M entries need {LARGE_DISK >> 30} GiB of disk")
    result = ctx.make_tables("--count", LARGE, "--changes", 0)
    notes = [f"p99 {result['lookup_p99_us']:.3g} us; {result['bytes'] / result['files']:.3g} bytes a file",
             f"built by {result['files'] / result['build_s'] / 1e6:.2g} M/s, decoded by "
             f"{result['entries'] / result['decode_s'] / 1e6:.3g} M/s, {build_costs([result])}"]
    return Figure([result["lookup_p50_us"]], notes)


# ---- memory ----


@row("memory-idle", "larder-node, all processes, idle for 60 s", "own memory", 32, 16, False, "MiB")
def memory_idle(ctx):
    ctx.drop_hot()
    with programs.Larder(ctx, ctx.store()) as larder:
        fresh = machine.own_memory(larder.of("larder-node")) / MIB
        ctx.check_sum(larder.mount / HOT, HOT)
        time.sleep(IDLE_S)
        idle = machine.own_memory(larder.of("larder-node")) / MIB
    return Figure([idle], [f"{fresh:.3g} MiB once mounted, {idle:.3g} MiB 60 s after a cold read of 1 GiB"])


@row("memory-serving", "larder-node, all processes, the most in all rows above", "own memory", 256, 128, False, "MiB")
def memory_serving(ctx):
    """By itself it serves a cold file to many readers; after other rows it tells their peak."""
    if not ctx.peak_node:
        with programs.Larder(ctx, ctx.store()) as larder:
            ctx.ours(lambda: ctx.read(larder.mount / COLD, "--jobs", SINGLE_FLIGHT_READERS))
        ctx.peak_node = ctx.watch.take_peaks().get("larder-node", 0)
    return Figure([ctx.peak_node / MIB], [f"sampled every {machine.Watch.PERIOD_S * 1e3:.0f} ms"])
