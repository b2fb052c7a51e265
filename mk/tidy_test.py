#!/usr/bin/env python3
"""Each check of tidy.py finds the mistake it is for, and finds nothing in a tree without one."""
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import tidy  # noqa: E402

GOOD_HEADER = """#ifndef COMMON_BASE_A_H
#define COMMON_BASE_A_H

/* Says one. */
int a(void);

#endif
"""
GOOD = {"common/base/a.h": GOOD_HEADER, "common/base/a.c": '#include "common/base/a.h"\n', "common/base/a_test.c": "\n"}
LONG = "int f(int x)\n{\n" + "\tx++;\n" * 80 + "\treturn x;\n}\n"

# The file, its text, and words of the one line that must come.
MISTAKES = [
    ("common/base/b.c", '#include "cache-node/cache.h"\n', "common includes cache-node/cache.h"),
    ("common/base/b.c", '#include "common/source.h"\n', "common/base knows only itself"),
    ("common/base/b.c", '#include "b.h"\n', "name the path from the top"),
    ("common/base/b.c", "#include <curl/curl.h>\n", "includes <curl/curl.h>"),
    ("common/base/b.c", "#include <grpc/grpc.h>\n", "only common/rpc/* know it"),
    ("common/base/hash.c", "#include <unistd.h>\n", "a core or codec includes unistd.h"),
    ("common/base/hash.c", "int f(void)\n{\n\treturn clock_mono_ns();\n}\n", "a core or codec calls clock_mono_ns()"),
    ("csi-driver/mounter/b.c", '#include "common/source.h"\n', "the mounter includes common/source.h"),
    ("common/base/b.c", "void f(char *a)\n{\n\tstrcpy(a, a);\n}\n", "calls strcpy()"),
    ("common/base/b.c", "void f(void *a)\n{\n\tfree(a);\n}\n", "calls free(); mem_*"),
    ("common/base/b.c", "void f(void)\n{\n\texit(1);\n}\n", "calls exit()"),
    ("common/base/b.c", "/* x = y + 1; */\n", "a comment that is code"),
    ("common/base/b.c", "// f(x);\n", "a comment that is code"),
    ("common/base/b.c", LONG, "f() has 84 lines"),
    ("common/base/b.c", "\n" * 1200, "1200 lines"),
    ("common/base/b.c", "/* " + "FIX" + "ME later */\n", "leaves FIX" + "ME"),
    ("common/base/b.c", "/* see /" + "work/notes */\n", "no path or host of one machine"),
    ("common/base/b.c", "int x; \n", "blanks at the end"),
    ("common/base/b.c", "int x;", "no newline"),
    ("common/base/b.c", "/* " + "x" * 140 + " */\n", "columns"),
    ("common/base/b.h", GOOD_HEADER, "the include guard is not named after the path"),
    ("common/base/a.h", GOOD_HEADER.replace("/* Says one. */\n", ""), "a() is not documented"),
    ("common/new/b.c", "int x;\n", "no test beside the code"),
    ("docs/formats/b.md", "# b\n", "no file names this page"),
    ("common/base/b_fuzz.c", "int x;\n", "no corpus"),
]


def findings(files):
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            os.makedirs(os.path.join(folder, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(folder, path), "w", encoding="utf-8") as f:
                f.write(text)
        subprocess.run(["git", "init", "-q", folder], check=True)
        before = os.getcwd()
        os.chdir(folder)
        try:
            found = tidy.Findings()
            notes = tidy.check_tree(tidy.tree_files(), found)
        finally:
            os.chdir(before)
        return notes + [f"{path}:{line}: {words}" for path, line, words in sorted(found.lines)]


class Tidy(unittest.TestCase):
    def test_a_good_tree_has_no_finding(self):
        self.assertEqual(findings(GOOD), [])

    def test_each_mistake_is_found(self):
        for path, text, words in MISTAKES:
            with self.subTest(words):
                lines = findings({**GOOD, path: text})
                self.assertTrue(any(words in line and line.startswith(os.path.dirname(path)) for line in lines), lines)

    def test_words_in_strings_and_comments_are_no_calls(self):
        text = '/* never call free(p) */\nconst char *s = "free(p)";\n'
        self.assertEqual(findings({**GOOD, "common/base/b.c": text}), [])

    def test_a_flat_switch_may_be_long(self):
        text = "int f(int x)\n{\n\tswitch (x) {\n" + "".join(f"\tcase {i}:\n\t\treturn {i};\n" for i in range(50)) + "\t}\n}\n"
        self.assertEqual(findings({**GOOD, "common/base/b.c": text}), [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-q"])
