"""The table, as Markdown."""

import datetime
import subprocess

import machine
import programs
import rounds

METHOD = """\
- Limit, ours, limit again, round by round; the figure is the median of the rounds' ratios, the spread their least and greatest. A
  round in which the limit moves more than 15 % between its passes is repeated, at most three times; a row most of whose rounds
  stayed that way is *unsteady*. Nothing is pinned, nothing is chosen: the last run of `make bench` is what stands here.
- **Hot**: the file is complete in the tier; its tier file was written back, dropped from the page cache and read once
  sequentially, through the mount (so it is cached in large folios). Native is the same tier file opened where it lies, so both
  sides read the same pages: two copies would be compared by the physical memory that each happened to get. Timed passes last
  {section} s. The random orders visit every page once before any comes again; maps are made anew each time round.
- **Cold**: `larder up` with a new state folder and mount for every pass, so cache and page cache of the mount are empty; the
  server's own file stays in the page cache. Time runs from the first read to the last byte. For the two sequential rows as much
  memory as a pass fills is touched first and freed but for one page in each 2 MiB, so that a hypervisor that takes free
  memory back keeps its hands off: there the first touch of a page costs more than all else, for whoever comes first.
- **Peers, hot**: complete caches, their files dropped and read once sequentially, the mounted file opened afresh without pages of
  its own, each page read once, buffered; ours opened the same way. Two passes of ours stand around one of the peer.
- **find**: versitygw holds 100,000 files in 100 folders. All three are mounted and looked through once, so that each has in its own
  memory what it keeps there; before every timed pass the kernel drops the names and inodes that it has cached. The count of files
  and the sum of their sizes are checked in every pass. The peer's figure is that of the faster one in each round.
- Every byte is checked by CRC32C outside the timed passes (inside, where 32 readers read at once, and where processes are stopped).
- `larder up` runs with what it ships with. CPU seconds are of one pass (the median), user and system, all threads; memory
  is RssAnon + RssShmem of all processes of the group, the most that was seen, sampled every {period:.0f} ms."""


def number(value):
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def bound(row, value):
    if value is None:
        return ""
    return f"{number(value)}{'' if row.unit == 'x' else ' '}{row.unit}".strip()


def value_of(row, figure):
    return bound(row, figure.value) + ("" if len(figure.values) < 2 else f" ({number(figure.low)} to {number(figure.high)})")


def verdict_of(done):
    if done.error:
        return done.error_kind
    return rounds.verdict(done.figure, done.row.must, done.row.goal, done.row.more_is_better)


def results_table(results):
    lines = ["| row | what | against | must | goal | measured (spread) | ours | limit or peer | verdict |",
             "|---|---|---|---|---|---|---|---|---|"]
    for done in results:
        row, figure = done.row, done.figure
        cells = [row.name, row.title, row.against, bound(row, row.must), bound(row, row.goal)]
        cells += [value_of(row, figure), figure.ours or "", figure.limit or ""] if figure else ["", "", ""]
        lines.append("| " + " | ".join(cells + [f"**{verdict_of(done)}**"]) + " |")
    return lines


def cpu_of(done, whose):
    """Groups that took part: what the clock's ticks (10 ms) do not show did not."""
    shown = {name: seconds for name, seconds in done.cpu.get(whose, {}).items() if seconds >= 0.005}
    if whose == "ours" and done.cpu.get("ours"):
        shown.setdefault("larder-node", 0.0)
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in shown.items())


def costs_table(results):
    lines = ["| row | CPU seconds, our pass | CPU seconds, limit's or peer's pass | peak memory, MiB | load | steal | took |",
             "|---|---|---|---|---|---|---|"]
    for done in results:
        peaks = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in sorted(done.peaks.items()))
        lines.append(f"| {done.row.name} | {cpu_of(done, 'ours')} | {cpu_of(done, 'theirs')} | {peaks} | {done.load:.1f} | "
                     f"{done.steal:.1%} | {done.seconds:.0f} s |")
    return lines


def notes(results):
    lines = []
    for done in results:
        words = [done.error] if done.error else done.figure.notes
        if words:
            lines.append(f"- {done.row.name}: " + "; ".join(words))
    return lines


def commit(root):
    def git(*words):
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no", "--", ":!docs/benchmarks.md") else ""
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + changed


def versions(ctx):
    larder = machine.first_line(str(ctx.larder), "version")
    compiler = machine.first_line("gcc", "--version")
    return [("larder", larder), ("compiler", compiler), ("versitygw", programs.VERSITYGW.rpartition("@")[2]),
            ("rclone", f"{programs.RCLONE.rpartition('=')[2]}: {', '.join(f'`{o}`' for o in programs.Rclone.options)}"),
            ("s3fs", f"{programs.S3fs.version()}: {', '.join(f'`{o}`' for o in programs.S3fs.options)}")]


def render(ctx, root, results, section_s):
    now = datetime.datetime.now(datetime.timezone.utc)
    about = [("date", now.strftime("%Y-%m-%d %H:%M UTC")), ("commit", commit(root)), ("rounds", str(ctx.rounds))]
    about += machine.facts(ctx.work) + versions(ctx)
    parts = [["# Benchmarks", "", "Written by `make bench`; do not edit."], ["## Figures", "", *results_table(results)]]
    remarks = notes(results)
    if remarks:
        parts.append(remarks)
    parts += [["## What they cost", "", *costs_table(results)],
              ["## Machine and versions", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in about)],
              ["## Method", "", METHOD.format(section=section_s, period=machine.Watch.PERIOD_S * 1e3)]]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"
