#!/usr/bin/env python3
"""Makes the style guide hold: `make tidy`. One line a finding, `path:line: what is wrong; what is right`.

The checks of this file need only Python and git; those that call other programs stand in tidy_tools.py. What may include
what, and which files decide without doing I/O, are the tables below: they are the rule, this file only applies it.
"""
import argparse
import fnmatch
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# ---- tables ---------------------------------------------------------------------------------------------------

# What a top folder may include. A program knows common and api, never another program.
PROGRAMS = ("cache-node", "csi-driver", "operator-shim", "cli", "bench", "metadata", "mk")
MAY_INCLUDE = {"api": ("api",), "common": ("common", "api")}
MAY_INCLUDE.update({p: (p, "common", "api") for p in PROGRAMS})
BASE = "common/base/"  # knows only itself

# (who, what): single includes across the layers, with the reason.
LAYER_EXCEPTIONS = {
    ("cache-node/*", "csi-driver/mounter.h"): "the wire contract between node and mounter",
    ("cli/*", "csi-driver/mounter.h"): "the wire contract with the mounter",
    ("bench/policy/*", "cache-node/cache/policy.h"): "the simulator runs the node's own policy",
    ("common/source/*_test.c", "bench/origin/synthetic.h"): "what the test origin serves",
    ("common/http/*_test.c", "bench/origin/synthetic.h"): "what the test origin serves",
}

# Foreign headers and the only places that know them.
ONLY_IN = [
    (r"grpc(pp)?/", ("common/rpc/*",)),
    (r"curl/", ("common/http/*", "common/source/*", "bench/ranges/*", "bench/lister/*")),  # what to compare with
    (r"fuse_lowlevel\.h|fuse3?/|fuse_common\.h", ("cache-node/fuse/*",)),
    (r"linux/fuse\.h", ("cache-node/fuse/*", "cache-node/listing.c", "csi-driver/mounter/*", "common/fuse_kernel.h", "cli/doctor*")),
    (r"yaml\.h", ("common/dataset/*",)),
    (r"expat\.h", ("common/source/*",)),
    (r"microhttpd\.h", ("cache-node/metrics.c", "bench/origin/*", "*_test.c")),
    (r"openssl/", ("common/*",)),
    (r"liburing", ("cache-node/*",)),
]

# The privileged program is static and knows only libc and these.
MOUNTER_KNOWS = ("csi-driver/", BASE, "common/fuse_kernel.h")

# Modules that decide, and codecs: no clock, no descriptor, no thread (style 3). Shell patterns.
CORES = [
    "common/base/bytes.c", "common/base/crc32c.c", "common/base/err.c", "common/base/hash.c",
    "common/base/quantity.c", "common/base/rng.c",
    "common/manifest/chunk*.c", "common/manifest/root.c", "common/manifest/name.c", "common/manifest/conflicts.c", "common/manifest/diff.c", "common/manifest/reader.c",
    "common/dataset/*.c",
    "common/source/s3_sign.c", "common/source/s3_place.c", "common/source/s3_list.c", "common/source/response.c", "common/source/s3_error.c",
    "common/source/http_url.c", "common/source/http_index.c", "common/source/http_list.c", "common/source/checksum.c",
    "common/source/retry.c", "common/source/pace.c",
    "cache-node/fill/plan.c", "cache-node/cache/policy.c", "cache-node/cache/sidecar.c",
    "csi-driver/mounter/checks.c", "csi-driver/mounter/marks.c", "operator-shim/reconcile.c",
    "metadata/raft/*.c", "metadata/wal/record.c", "metadata/wal/recover.c", "metadata/wal/wal.c", "metadata/sim/[!m]*.c",  # all but the simulator's main.c
]
CORE_HEADERS = re.compile(
    r"(unistd|poll|signal|dirent|ftw|fts|spawn|semaphore|threads|netdb)\.h|sys/(?!types|stat)|linux/|netinet/|arpa/"
    r"|pthread\.h|common/base/(fd|log)\.h|grpc/|curl/|fuse")
CORE_HEADERS_EXCEPT = {
    ("common/base/crc32c.c", "pthread.h"): "pthread_once around the lookup table",
    ("common/source/response.c", "curl/curl.h"): "curl_getdate, which is pure",
    ("common/source/http_index.c", "curl/curl.h"): "curl_getdate, which is pure",
    ("common/source/http_list.c", "curl/curl.h"): "curl_getdate, which is pure",
    ("common/source/http_url.c", "curl/curl.h"): "curl_url, which is pure",
}
CORE_CALLS = re.compile(
    r"(?<![\w.>])(open|openat|read|write|pread|pwrite|close|stat|fstat|lstat|unlink|rename|mmap|socket|connect|poll"
    r"|time|gettimeofday|clock_gettime|clock_mono_ns|clock_wall_ns|getrandom|nanosleep|usleep|sleep|fork"
    r"|pthread_create|fopen|getenv)\s*\(")

# Never called. (pattern, what is right, where it is allowed all the same)
BANNED = [
    (r"(strcpy|strcat|stpcpy|wcscpy)", "copy with a length: snprintf, memcpy", ()),
    (r"v?sprintf", "snprintf", ()),
    (r"gets", "fgets", ()),
    (r"strtok", "strtok_r, strchr", ()),
    (r"s?rand(om)?", "struct rng, with a printed seed", ()),
    (r"(system|popen)", "posix_spawn or fork with an argument vector", ("e2e/*",)),
    (r"alloca", "a bounded array, or mem_alloc", ()),
    (r"(atoi|atol|atoll|atof)", "strtoull with checks, or quantity.h", ()),
    (r"(malloc|calloc|realloc|reallocarray|strdup|strndup|free)", "mem_*",
     ("common/base/mem.c", "csi-driver/mounter/*", "mk/fuzz_main.c", "operator-shim/files.c")),  # files.c: of scandir
    (r"(_?exit|quick_exit)", "return an error; only main and a forked child end the process",
     ("*/main.c", "*_test.c", "mk/*", "cli/*")),
]
# A forked child that could not exec has nobody to return to.
EXIT_IN_CHILD = ("cache-node/supervisor/supervisor.c", "cache-node/test_node.h",
                 "common/source/testing_origin.h")

# Folders without a unit test of their own, and what tests them.
TESTED_ELSEWHERE = {
    "cache-node": "e2e: it puts the modules together",
    "cache-node/job": "e2e: jobs walk a real cache",
    "cache-node/sync": "e2e: sync writes a real catalog",
    "mk": "the tests themselves run it",
}

LINES_MAX, FUNCTION_MAX, COLUMNS_MAX = 1000, 70, 132

# Generated or foreign: only read, never judged.
NOT_OURS = ("*/corpus/*", "LICENSE", "*.png", "*.svg")

# Words that must not stand in the tree: paths of one machine. Written so that this file does not find itself.
MACHINE_WORDS = re.compile("/" + r"(work|root|home/\w+)/(?!\.\.)|artifact[-.]?registry|pkg\.dev\b")

C_LIKE = (".c", ".h")
TEXT = (".c", ".h", ".py", ".sh", ".mk", ".md", ".proto", ".yaml", ".yml", ".txt", ".toml", "Makefile", "run")


class Findings:
    """Collects what is wrong and prints it, sorted, once."""

    def __init__(self):
        self.lines = set()

    def add(self, path, line, wrong, right):
        self.lines.add((path, int(line), f"{wrong}; {right}"))

    def report(self):
        for path, line, words in sorted(self.lines):
            print(f"{path}:{line}: {words}")
        return len(self.lines)


# ---- reading --------------------------------------------------------------------------------------------------


def tree_files():
    """What git tracks or would track, in the current folder."""
    out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                         capture_output=True, check=True).stdout
    names = sorted(set(os.fsdecode(n) for n in out.split(b"\0") if n))
    return [n for n in names if os.path.isfile(n) and not matches(n, NOT_OURS)]


def matches(path, patterns):
    return any(fnmatch.fnmatchcase(path, p) for p in patterns)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


STRIP = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)


def blanked(text, strings=True):
    """@text with comments (and strings) replaced by blanks, all lines kept in place."""
    def blank(m):
        s = m.group(0)
        if s[0] in "\"'" and not strings:
            return s
        inner = re.sub(r"[^\n]", " ", s)
        return s[0] + inner[1:-1] + s[0] if s[0] in "\"'" and len(s) > 1 else inner
    return STRIP.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def is_test(path):
    return path.endswith(("_test.c", "_fuzz.c")) or matches(path, ("*/test_*.h", "*/testing.h", "*_fake.h"))


# ---- checks of C ----------------------------------------------------------------------------------------------

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"]+)[>"]', re.M)


def check_includes(path, text, found):
    top = path.split("/")[0]
    core = matches(path, CORES) and not is_test(path)
    for m in INCLUDE.finditer(text):
        line, kind, what = line_of(text, m.start()), m.group(1), m.group(2)
        if kind == '"':
            check_layer(path, top, line, what, found)
        for pattern, where in ONLY_IN:
            if kind == "<" and re.match(pattern, what) and not matches(path, where):
                found.add(path, line, f"includes <{what}>", f"only {', '.join(where)} know it")
        if core and CORE_HEADERS.match(what) and (path, what) not in CORE_HEADERS_EXCEPT:
            found.add(path, line, f"a core or codec includes {what}",
                      "it decides without I/O; time, bytes and randomness are handed in")


def check_layer(path, top, line, what, found):
    if "/" not in what:
        found.add(path, line, f'includes "{what}"', "name the path from the top of the tree")
        return
    if any(fnmatch.fnmatchcase(path, w) and what == h for w, h in LAYER_EXCEPTIONS):
        return
    if what.split("/")[0] not in MAY_INCLUDE.get(top, (top, "common", "api")):
        found.add(path, line, f"{top} includes {what}", f"{top} may know {', '.join(MAY_INCLUDE.get(top, ()))}")
    elif path.startswith(BASE) and not what.startswith(BASE):
        found.add(path, line, f"common/base includes {what}", "common/base knows only itself")
    elif path.startswith("csi-driver/mounter/") and not what.startswith(MOUNTER_KNOWS):
        found.add(path, line, f"the mounter includes {what}", f"it knows only libc, {', '.join(MOUNTER_KNOWS)}")


def check_calls(path, code, found):
    if matches(path, CORES) and not is_test(path):
        for m in CORE_CALLS.finditer(code):
            found.add(path, line_of(code, m.start()), f"a core or codec calls {m.group(1)}()",
                      "it makes no syscall; hand the result in")
    code = re.sub(r"__attribute__\(\(malloc\b", lambda m: " " * len(m.group(0)), code)
    for name, right, where in BANNED:
        if matches(path, where) or (right == "mem_*" and is_test(path)) or ("exit" in name and path in EXIT_IN_CHILD):
            continue
        for m in re.finditer(r"(?<![\w.>])" + name + r"\s*\(", code):
            found.add(path, line_of(code, m.start()), f"calls {m.group(0).rstrip('( ')}()", right)


def check_guard(path, text, found):
    want = re.sub(r"[^A-Z0-9]", "_", path.upper())
    m = re.search(r"^#ifndef (\w+)\n#define (\w+)$", text, re.M)
    if not m or m.group(1) != want or m.group(2) != want:
        found.add(path, line_of(text, m.start()) if m else 1, "the include guard is not named after the path", want)


COMMENTED_CODE = re.compile(r"(if|for|while|switch) \(.*\) ?\{|return [^ ]+;|\}|[\w>.\-\[\]]+\(.*\);"
                            r"|[\w>.\-\[\]]+ [-+|]?= [^;]+;|(static |const |struct )*\w+ \**\w+( = .*)?;")


def check_comments(path, text, found):
    for m in STRIP.finditer(text):
        if m.group(0)[0] != "/":
            continue
        for number, line in enumerate(m.group(0).split("\n"), line_of(text, m.start())):
            if COMMENTED_CODE.fullmatch(re.sub(r"^\s*(//+|/\*+|\*(?!/))\s?|\s*\*/$", "", line).strip()):
                found.add(path, number, "a comment that is code", "delete it, or say it in words")


def check_documented(path, text, found):
    """Each paragraph with a function declaration has a comment before or in it."""
    body = text.split("#define", 1)[-1]
    start = line_of(text, len(text) - len(body)) - 1
    depth = 0
    paragraph, first = [], 0
    for number, line in enumerate(body.split("\n") + [""], start + 1):
        if line.strip() or depth > 0:
            paragraph = paragraph or []
            first = first or number
            paragraph.append(line)
        elif paragraph:
            judge_paragraph(path, first, "\n".join(paragraph), found)
            paragraph, first = [], 0
        depth += blanked(line).count("{") - blanked(line).count("}")


PROTOTYPE = re.compile(r"^(?!typedef|static|#|\s|DEFINE_|X\()[\w \t*\n]*?\b(\w+)\s*\(([^;{}]*)\)[^;{}]*;", re.M)


def judge_paragraph(path, first, text, found):
    code = blanked(text)
    for m in PROTOTYPE.finditer(code):
        before = text[:m.start()]
        line_end = text.find("\n", m.end())
        here = text[m.start():line_end if line_end >= 0 else len(text)]
        if "/*" not in here and not re.search(r"^/\*", before, re.M):
            found.add(path, first + before.count("\n"), f"{m.group(1)}() is not documented",
                      "a comment right above it, or above its group")


def check_functions(paths, found):
    """Functions of more than FUNCTION_MAX lines, flat switches excepted. By ctags."""
    try:
        out = subprocess.run(["ctags", "--languages=C", "--kinds-C=f", "--fields=+ne", "-f", "-", "-L", "-"],
                             input="\n".join(paths), capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "no universal-ctags: sizes of functions not checked; apt-get install universal-ctags"
    for tag in out.splitlines():
        fields = tag.split("\t")
        extra = dict(f.split(":", 1) for f in fields[3:] if ":" in f)
        if "line" not in extra or "end" not in extra:
            continue
        first, last = int(extra["line"]), int(extra["end"])
        if last - first + 1 > FUNCTION_MAX and not is_flat_switch(fields[1], first, last):
            found.add(fields[1], first, f"{fields[0]}() has {last - first + 1} lines",
                      f"at most {FUNCTION_MAX}; ask what the second thing in it is")
    return None


def is_flat_switch(path, first, last):
    lines = read(path).split("\n")[first - 1:last]
    cases = sum(1 for l in lines if re.match(r"\s*(case\b.*|default):", l))
    tests = sum(1 for l in lines if re.match(r"\s*TEST\(|\s*cmocka_unit_test|\s*\{\"", l))
    return cases >= len(lines) // 5 or tests >= len(lines) // 2


# ---- checks of all text ---------------------------------------------------------------------------------------


def check_text(path, text, found):
    lines = text.split("\n")
    if len(lines) - 1 > LINES_MAX:
        found.add(path, LINES_MAX, f"{len(lines) - 1} lines", f"at most {LINES_MAX}; ask what the second thing is")
    if text and not text.endswith("\n"):
        found.add(path, len(lines), "no newline at the end", "end the last line")
    marker = re.compile(r"\b(" + "FIX" + "ME|TO" + "DO|XX" + "X)\\b")
    for number, line in enumerate(lines, 1):
        if line.endswith((" ", "\t")) and not path.endswith(".md"):
            found.add(path, number, "blanks at the end of the line", "remove them")
        if marker.search(line):
            found.add(path, number, f"leaves {marker.search(line).group(1)}", "do it, or open an issue")
        if MACHINE_WORDS.search(line):
            found.add(path, number, f"names {MACHINE_WORDS.search(line).group(0)}", "no path or host of one machine")
        if path.endswith(C_LIKE) and len(line.expandtabs(8)) > COLUMNS_MAX:
            found.add(path, number, f"{len(line.expandtabs(8))} columns", f"at most {COLUMNS_MAX}")


def check_folders(files, found):
    """A test for each folder with code, a page named for each format, a corpus for each fuzz target."""
    folders = {os.path.dirname(f) for f in files if f.endswith(".c")}
    for folder in sorted(folders):
        tested = any(f.endswith("_test.c") and os.path.dirname(f) == folder for f in files)
        if not tested and folder not in TESTED_ELSEWHERE:
            found.add(folder, 1, "no test beside the code", "add a *_test.c, or say in tidy.py what tests it")
    everything = "\n".join(read(f) for f in files if f.endswith(C_LIKE + (".md", ".py", ".proto")))
    for page in (f for f in files if f.startswith("docs/formats/") and f.endswith(".md")):
        if page not in everything and os.path.basename(page) != "README.md":
            found.add(page, 1, "no file names this page", "name it in the codec's header")
    for fuzz in (f for f in files if f.endswith("_fuzz.c")):
        corpus = f"{os.path.dirname(fuzz)}/corpus/{os.path.basename(fuzz)[:-len('_fuzz.c')]}"
        if not os.path.isdir(corpus) or not os.listdir(corpus):
            found.add(fuzz, 1, "no corpus", f"put inputs into {corpus}/")


def check_tree(files, found):
    """All checks that need no other program (but ctags). Returns notes about what could not run."""
    sources = [f for f in files if f.endswith(C_LIKE)]
    for path in files:
        if not path.endswith(TEXT):
            continue
        text = read(path)
        check_text(path, text, found)
        if path not in sources:
            continue
        check_includes(path, text, found)
        check_calls(path, blanked(text), found)
        check_comments(path, text, found)
        if path.endswith(".h"):
            check_guard(path, text, found)
            if os.path.dirname(path) != path.split("/")[0] or path.count("/") == 1:
                check_documented(path, text, found)
    check_folders(files, found)
    note = check_functions(sources, found)
    return [note] if note else []


def main():
    import tidy_tools

    parser = argparse.ArgumentParser(description="Checks that the style guide holds.")
    parser.add_argument("--build", default="build", help="build folder, for generated headers and the cache")
    parser.add_argument("--only", default="", help="own,headers,format,spelling,shell,clang-tidy,cppcheck")
    options = parser.parse_args()
    files = tree_files()
    parts = [("own", lambda found: check_tree(files, found))]
    parts += [(name, lambda found, run=run: run(files, options.build, found)) for name, run in tidy_tools.PARTS]
    wanted = set(filter(None, options.only.split(",")))
    count, passed, failed, notes = 0, 0, 0, []
    for name, run in parts:
        if wanted and name not in wanted:
            continue
        found, start = Findings(), time.monotonic()
        notes += run(found) or []
        bad = found.report()
        count += bad
        passed, failed = passed + (not bad), failed + bool(bad)
        print(f"  {'ok' if not bad else 'FAILED':7} tidy {name} ({time.monotonic() - start:.1f} s)", flush=True)
    for note in notes:
        print(f"note: {note}")
    print(f"tidy: {count} finding{'' if count == 1 else 's'}")
    print(f"tidy: {passed} passed, {failed} failed, {len(notes)} skipped")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
