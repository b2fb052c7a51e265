#!/bin/sh
# run-tests.sh BUILD TEST... -- REPLAY... - runs unit tests, then replays each fuzz corpus; names what fails. The last
# line counts test cases, a corpus as one.
set -u
build=$1
shift
passed=0 failed=0 skipped=0
export LSAN_OPTIONS="suppressions=$PWD/mk/lsan.supp:print_suppressions=0"
export TSAN_OPTIONS="ignore_noninstrumented_modules=1:suppressions=$PWD/mk/tsan.supp"

cases() { # WORD LOG: how many cases cmocka says so of
	sed -n "s/^\[  $1 *\] \([0-9][0-9]*\) test.*/\1/p" "$2" | awk '{ n += $1 } END { print n + 0 }'
}

while [ $# -gt 0 ] && [ "$1" != -- ]; do
	status=0
	timeout 300 "$1" >"$1.log" 2>&1 || status=$?
	bad=$(cases FAILED "$1.log")
	[ "$status" = 0 ] || [ "$bad" != 0 ] || bad=1
	passed=$((passed + $(cases PASSED "$1.log"))) failed=$((failed + bad)) skipped=$((skipped + $(cases SKIPPED "$1.log")))
	if [ "$bad" = 0 ]; then
		printf '  ok      %s\n' "${1#"$build"/}"
	else
		printf '  FAILED  %s (repeat: %s)\n' "${1#"$build"/}" "$1"
		tail -n 40 "$1.log"
	fi
	shift
done
[ $# -gt 0 ] && shift
for replay; do
	name=${replay#"$build"/}
	corpus=$(dirname "$name")/corpus/$(basename "$name" _fuzz)
	if timeout 300 "$replay" "$corpus" >"$replay.log" 2>&1; then
		passed=$((passed + 1))
		printf '  ok      %s over %s\n' "$name" "$corpus"
	else
		failed=$((failed + 1))
		printf '  FAILED  %s (repeat: %s %s)\n' "$name" "$replay" "$corpus"
		tail -n 40 "$replay.log"
	fi
done
printf 'unit: %s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
