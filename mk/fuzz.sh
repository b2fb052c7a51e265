#!/bin/sh
# fuzz.sh BUILD SECONDS TARGET... - runs each libFuzzer program for SECONDS over its corpus. What it finds goes into
# BUILD/corpus/NAME, an input that fails into BUILD/crash-NAME-*; coverage is printed.
set -u
build=$1
seconds=$2
shift 2
passed=0 failed=0
for target; do
	name=$(basename "$target" _fuzz)
	seeds=$(dirname "${target#"$build"/}")/corpus/$name
	found=$build/corpus/$name
	mkdir -p "$found"
	if "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$build/crash-$name-" "$found" "$seeds" >"$target.log" 2>&1; then
		passed=$((passed + 1))
		grep -E '^#[0-9]+.*DONE' "$target.log" | sed "s/^/  ok      $name: /"
	else
		failed=$((failed + 1))
		echo "  FAILED  $name"
		tail -n 30 "$target.log"
		grep -o 'Test unit written to .*' "$target.log"
	fi
done
echo "fuzz: $passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
