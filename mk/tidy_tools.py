"""The checks of `make tidy` that other programs make: each PART takes (files, build folder, findings), returns notes.

A program that is missing is a note, counted as skipped, with what to install. Results that depend on nothing but the bytes
of the files are remembered in BUILD/tidy by content, so that a second run looks only at what changed.
"""
import concurrent.futures
import hashlib
import os
import re
import shlex
import shutil
import subprocess

PKGS = "libcurl libcjson fuse3 openssl yaml-0.1 expat libprotobuf-c libmicrohttpd".split()
# What they find differs between versions, so they are judged where their answers were looked at: on Debian 12.
JUDGES = {"clang-format": "14.", "clang-tidy": "14.", "cppcheck": "2.10"}
JOBS = os.cpu_count() or 2
FINDING = re.compile(r"^((?:[\w.-]+/)*[\w.-]+\.[ch]):(\d+):(?:\d+:)? (?:warning|error|style|performance|portability"
                     r"|information|fatal error): (.*)$", re.M)


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def missing(program, package=None):
    if shutil.which(program):
        return None
    return f"no {program}: not checked; apt-get install {package or program}"


def is_judge(program):
    """Whether this is the version whose findings count; says so if not."""
    version = " ".join(run([program, "--version"]).stdout.split())
    if re.search(r"(?:version|Cppcheck) " + re.escape(JUDGES[program]), version):
        return True
    print(f"  ({program} {JUDGES[program].rstrip('.')} of Debian 12 is the judge; this one is not: {version[:60]})")
    return False


def c_files(files):
    return [f for f in files if f.endswith((".c", ".h"))]


def compile_flags(build):
    """What rules.mk gives the compiler, as far as a reader of the code needs it."""
    pkg = run(["pkg-config", "--cflags"] + PKGS).stdout
    return (["-std=c17", "-pthread", "-D_GNU_SOURCE", '-DLARDER_VERSION="tidy"', "-I.", "-isystem", f"{build}/gen"]
            + shlex.split(pkg))


def parallel(work, items):
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(work, items))


class Memory:
    """Remembers which contents were found clean: one empty file a digest in BUILD/tidy."""

    def __init__(self, build, *what):
        self.folder = os.path.join(build, "tidy")
        os.makedirs(self.folder, exist_ok=True)
        self.what = "\0".join(what)
        self.digests = {}

    def file_digest(self, path):
        if path not in self.digests:
            with open(path, "rb") as f:
                self.digests[path] = hashlib.sha256(f.read()).hexdigest()
        return self.digests[path]

    def key(self, path, others):
        """By the file and all that it includes from us, and what was asked of it."""
        parts = [self.what, path] + [f"{p} {self.file_digest(p)}" for p in sorted(others | {path})]
        return os.path.join(self.folder, hashlib.sha256("\0".join(parts).encode()).hexdigest())


def included(path, build, known):
    """The files of ours (and generated ones) that @path includes, directly or not."""
    if path not in known:
        known[path] = set()
        with open(path, encoding="utf-8", errors="replace") as f:
            names = re.findall(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', f.read(), re.M)
        for name in names:
            for where in (name, f"{build}/gen/{name}"):
                if os.path.isfile(where):
                    known[path] |= {where} | included(where, build, known)
    return known[path]


def once(memory, build, paths, work):
    """Runs work(path) -> [lines] for all paths not known to be clean; remembers the clean ones."""
    known = {}
    keys = {p: memory.key(p, included(p, build, known)) for p in paths}
    todo = [p for p in paths if not os.path.exists(keys[p])]
    # The long ones first, so that no processor waits at the end.
    todo.sort(key=os.path.getsize, reverse=True)
    results = parallel(work, todo)
    for path, lines in zip(todo, results):
        if not lines:
            with open(keys[path], "w", encoding="utf-8"):
                pass
    return [line for lines in results for line in lines]


def add_findings(output, found, right):
    """Takes compiler-like lines; words other than those (a crash) count as a finding too."""
    seen = False
    here = re.escape(os.getcwd() + "/")
    for m in FINDING.finditer(re.sub(rf"^(?:{here})?(?:\./)?", "", output, flags=re.M)):
        found.add(m.group(1), m.group(2), m.group(3), right)
        seen = True
    return seen


def check_headers(files, build, found):
    """Each header compiles alone, by both compilers."""
    notes = []
    flags = compile_flags(build) + ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-parameter", "-fsyntax-only", "-x", "c"]
    for compiler in ("gcc", "clang"):
        note = missing(compiler)
        if note:
            notes.append(note)
            continue
        memory = Memory(build, "header", compiler, " ".join(flags))

        def work(path, compiler=compiler):
            # Included, not compiled itself: a main file's pragmas and unused functions are judged otherwise.
            result = run([compiler] + flags + ["-"], input=f'#include "{path}"\n')
            return [] if result.returncode == 0 else [(path, result.stderr)]

        for path, words in once(memory, build, [f for f in files if f.endswith(".h")], work):
            m = FINDING.search(words.replace("./", ""))
            where = (m.group(1), m.group(2), m.group(3)) if m else (path, 1, words.strip()[:200])
            found.add(where[0], where[1], f"{path} does not compile alone ({compiler}): {where[2]}", "include what it uses")
    return notes


def check_format(files, _build, found):
    note = missing("clang-format")
    if note:
        return [note]
    if not is_judge("clang-format"):
        return []
    result = run(["clang-format", "--dry-run", "-Werror"] + c_files(files))
    seen = add_findings(result.stderr, found, "clang-format -i")
    if result.returncode != 0 and not seen:
        found.add(".clang-format", 1, result.stderr.strip()[:200], "a style that clang-format reads")
    return []


def check_spelling(files, _build, found):
    note = missing("codespell")
    if note:
        return [note]
    result = run(["codespell", "--ignore-words", "mk/spelling.txt"]
                 + [f for f in files if not f.endswith(("go.sum", ".lock"))])
    for line in result.stdout.splitlines():
        m = re.match(r"(?:\./)?([^:]+):(\d+): (\S+) ==> (.*)", line)
        if m:
            found.add(m.group(1), m.group(2), f'"{m.group(3)}" is misspelled', f"{m.group(4)} (or add it to mk/spelling.txt)")
    return []


def is_shell(path):
    if path.endswith(".sh"):
        return True
    if "." in os.path.basename(path) or not os.access(path, os.X_OK):
        return False
    with open(path, "rb") as f:
        return re.match(rb"#!.*\b(ba|da)?sh\b", f.readline()) is not None


def check_shell(files, _build, found):
    note = missing("shellcheck")
    if note:
        return [note]
    scripts = [f for f in files if is_shell(f)]
    result = run(["shellcheck", "--format=gcc"] + scripts)
    for m in re.finditer(r"^([^:\n]+):(\d+):\d+: \w+: (.*) \[(SC\d+)\]$", result.stdout, re.M):
        found.add(m.group(1), m.group(2), m.group(3), m.group(4))
    if result.returncode > 1:
        found.add(scripts[0], 1, f"shellcheck: {result.stderr.strip()[:200]}", "scripts it can read")
    return []


def check_clang_tidy(files, build, found):
    note = missing("clang-tidy")
    if note:
        return [note]
    if not is_judge("clang-tidy"):
        return []
    flags = compile_flags(build)
    with open(".clang-tidy", encoding="utf-8") as f:
        checks = f.read()
    memory = Memory(build, "clang-tidy", run(["clang-tidy", "--version"]).stdout, checks, " ".join(flags))

    def work(path):
        result = run(["clang-tidy", "--quiet", path, "--"] + flags)
        bad = result.returncode != 0 or "warning:" in result.stdout
        return [(path, result.stdout, result.stderr)] if bad else []

    for path, out, words in once(memory, build, [f for f in files if f.endswith(".c")], work):
        if not add_findings(out, found, "see .clang-tidy"):
            found.add(path, 1, f"clang-tidy: {words.strip()[:300]}", "a file it can read")
    return []


def check_cppcheck(files, build, found):
    note = missing("cppcheck")
    if note:
        return [note]
    if not is_judge("cppcheck"):
        return []
    cache = os.path.join(build, "tidy", "cppcheck")
    os.makedirs(cache, exist_ok=True)
    result = run(["cppcheck", "--quiet", f"-j{JOBS}", "--std=c11", "--enable=warning,performance,portability",
                  "--inline-suppr", "--suppressions-list=mk/cppcheck.txt", f"--cppcheck-build-dir={cache}",
                  "-D_GNU_SOURCE", "-I.", "--error-exitcode=3", "--template={file}:{line}: {severity}: {message} [{id}]"]
                 + [f for f in files if f.endswith(".c")])
    seen = add_findings(result.stderr, found, "see mk/cppcheck.txt")
    if result.returncode != 0 and not seen:
        found.add("mk/cppcheck.txt", 1, f"cppcheck: {result.stderr.strip()[:300] or result.stdout.strip()[:300]}",
                  "a run that ends well")
    return []


PARTS = [("headers", check_headers), ("format", check_format), ("spelling", check_spelling), ("shell", check_shell),
         ("cppcheck", check_cppcheck), ("clang-tidy", check_clang_tidy)]
