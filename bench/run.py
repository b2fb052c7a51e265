#!/usr/bin/env python3
"""Runs the benchmarks and writes docs/benchmarks.md: `make bench`, `make bench ROW=hot-seq`, `ROUNDS=9`."""

import argparse
import os
import pathlib
import signal
import sys
import tempfile
import time
import traceback

import context
import programs
import report
import rows

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Done:
    """A row that ran: its figure, or why there is none."""

    def __init__(self, row):
        self.row = row
        self.figure = self.error = self.error_kind = None
        self.cpu, self.peaks, self.load, self.steal, self.seconds = {}, {}, 0.0, 0.0, 0.0


def run_row(ctx, row, verbose):
    done = Done(row)
    ctx.watch.take_peaks()
    ctx.take_costs()
    start = time.monotonic()
    try:
        done.figure = row.run(ctx)
    except programs.Missing as e:
        done.error, done.error_kind = str(e), "not run"
    except Exception as e:  # pylint: disable=broad-except # one row must not cost the others
        done.error, done.error_kind = " ".join(str(e).split()), "failed"
        if verbose:
            traceback.print_exc()
    done.seconds = time.monotonic() - start
    done.cpu, done.load, done.steal = ctx.take_costs()
    done.peaks = ctx.watch.take_peaks()
    ctx.peak_node = max(ctx.peak_node, done.peaks.get("larder-node", 0))
    return done


def say(done):
    text = done.error or report.value_of(done.row, done.figure)
    if done.figure and done.figure.ours:
        text += f": {done.figure.ours} beside {done.figure.limit}"
    print(f"{done.row.name:15} {report.verdict_of(done):8} {text} [{done.seconds:.0f} s]", flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", action="append", help="only this row (repeatable): " + ", ".join(r.name for r in rows.ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--larder", type=pathlib.Path, help="the program (default: of the build)")
    parser.add_argument("--work", type=pathlib.Path, help="folder for caches and copies (default: below the build)")
    parser.add_argument("--out", type=pathlib.Path, help="Markdown (default: docs/benchmarks.md when all rows run)")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    known = {r.name for r in rows.ROWS}
    unknown = [name for name in options.row or [] if name not in known]
    if unknown or options.rounds < 1:
        parser.error(f"no such row: {', '.join(unknown)}" if unknown else "--rounds is at least 1")
    return options


def main():
    options = parse()
    if os.geteuid() != 0:
        print("bench: mounting needs root: run it with sudo", file=sys.stderr)
        return 2
    build = options.build.resolve()
    larder = (options.larder or build / "bin/larder").resolve()
    base = (options.work or build / "bench").resolve()
    base.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is taken away
    ctx = context.Context(build, pathlib.Path(tempfile.mkdtemp(prefix="work-", dir=base)), larder, options.rounds)
    ctx.work.chmod(0o755)  # the worker, who is not root, reaches its tier below it
    results = []
    try:
        for row in rows.ROWS:
            if not options.row or row.name in options.row:
                results.append(run_row(ctx, row, options.verbose))
                say(results[-1])
        text = report.render(ctx, ROOT, results, context.SECTION_S)
    finally:
        ctx.close()
    print("\n" + text)
    out = options.out or (None if options.row else ROOT / "docs/benchmarks.md")
    if out:
        out.write_text(text, encoding="utf-8")
    return 1 if any(report.verdict_of(d) not in ("must", "goal", "shown") for d in results) else 0


if __name__ == "__main__":
    sys.exit(main())
