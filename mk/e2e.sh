#!/bin/sh
# e2e.sh BUILD [PYTEST ARGUMENT...] - the end-to-end tests: real mounts, so as root, by sudo where that asks nothing.
set -eu
build=$1
shift
if ! ls e2e/test_*.py >/dev/null 2>&1; then
	echo "e2e: 0 passed, 0 failed, 0 skipped"
	exit 0
fi
sh mk/venv.sh "$build"
as_root=
if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then
	as_root="sudo --preserve-env=CI,LARDER_E2E_DIR"
fi
status=0
# shellcheck disable=SC2086 # two words
$as_root env LARDER_BUILD="$PWD/$build" PYTHONDONTWRITEBYTECODE=1 "$build/venv/bin/python" -m pytest -p no:cacheprovider -q -rs \
	--junit-xml="$build/e2e.xml" e2e "$@" || status=$?
python3 - "$build/e2e.xml" <<'END'
import sys
import xml.etree.ElementTree as tree
suites = tree.parse(sys.argv[1]).getroot().iter("testsuite")
total = {key: 0 for key in ("tests", "failures", "errors", "skipped")}
for suite in suites:
    for key in total:
        total[key] += int(suite.get(key, 0))
failed = total["failures"] + total["errors"]
print(f'e2e: {total["tests"] - failed - total["skipped"]} passed, {failed} failed, {total["skipped"]} skipped')
END
exit "$status"
