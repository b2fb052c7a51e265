#!/bin/sh
# test.sh MAKE BUILD - `make test`: every part, one after the other, whatever the one before said; then a summary with
# times, and a last line that counts all. In CI (CI=true) nothing may be skipped.
set -u
make=$1
build=$2
logs=$build/test
mkdir -p "$logs"
jobs=$(nproc)
passed=0 failed=0 skipped=0 summary=

part() { # NAME COMMAND...: adds what its last line "WORD: N passed, N failed, N skipped" says
	name=$1
	shift
	echo "== $name"
	started=$(date +%s)
	{ "$@" 2>&1 && echo 0 >"$logs/$name.status" || echo 1 >"$logs/$name.status"; } | tee "$logs/$name.log"
	counts=$(sed -n 's/^[a-z0-9]*: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$logs/$name.log" |
		tail -n 1)
	# shellcheck disable=SC2086 # three words
	set -- ${counts:-0 0 0}
	bad=$2
	# A part that ended badly without a count (it did not build) is one failure.
	[ "$(cat "$logs/$name.status")" = 0 ] || [ "$bad" != 0 ] || bad=1
	passed=$((passed + $1)) failed=$((failed + bad)) skipped=$((skipped + $3))
	summary="$summary$(printf '  %-8s %5s s  %s passed, %s failed, %s skipped' "$name" $(($(date +%s) - started)) "$1" "$bad" "$3")
"
}

run_make() { # TARGET and variables; the parts choose B themselves
	"$make" --no-print-directory -j "$jobs" "$@"
}

part unit run_make check B="$build"
part coverage run_make coverage B="$build"
part asan run_make check B="$build/asan" SANITIZE=address
part planted run_make planted B="$build/asan" SANITIZE=address
part tsan run_make check B="$build/tsan" SANITIZE=thread
part clang run_make check B="$build/clang" CC=clang
part sim run_make sim B="$build"
part mutants run_make mutants B="$build"
part tidy run_make tidy B="$build"
part e2e run_make e2e B="$build"

echo
printf '%s' "$summary"
if [ "${CI:-}" = true ] && [ "$skipped" != 0 ]; then
	echo "in CI nothing may be skipped: a part above says what it lacks"
	failed=$((failed + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
