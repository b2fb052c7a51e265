#!/bin/sh
# run-tests.sh BUILD TEST... -- REPLAY... - runs unit tests, then replays each fuzz corpus; names what fails.
set -u
build=$1
shift
failed=0 ran=0
export LSAN_OPTIONS="suppressions=$PWD/mk/lsan.supp:print_suppressions=0"
export TSAN_OPTIONS="ignore_noninstrumented_modules=1:suppressions=$PWD/mk/tsan.supp"
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	ran=$((ran + 1))
	if timeout 300 "$1" >"$1.log" 2>&1; then
		printf '  ok      %s\n' "${1#"$build"/}"
	else
		failed=$((failed + 1))
		printf '  FAILED  %s (repeat: %s)\n' "${1#"$build"/}" "$1"
		tail -n 40 "$1.log"
	fi
	shift
done
[ $# -gt 0 ] && shift
for replay; do
	name=${replay#"$build"/}
	corpus=$(dirname "$name")/corpus/$(basename "$name" _fuzz)
	ran=$((ran + 1))
	if timeout 300 "$replay" "$corpus" >"$replay.log" 2>&1; then
		printf '  ok      %s over %s\n' "$name" "$corpus"
	else
		failed=$((failed + 1))
		printf '  FAILED  %s (repeat: %s %s)\n' "$name" "$replay" "$corpus"
		tail -n 40 "$replay.log"
	fi
done
printf 'unit: %s passed, %s failed\n' $((ran - failed)) "$failed"
[ "$failed" = 0 ]
