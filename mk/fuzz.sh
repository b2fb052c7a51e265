#!/bin/sh
# fuzz.sh BUILD SECONDS SEED JOBS TARGET... - runs each libFuzzer program for SECONDS over its corpus, JOBS at a time. What it
# finds goes into BUILD/corpus/NAME, an input that fails into BUILD/crash-NAME-*; coverage, runs and seed are printed.
set -u

fuzz_one() { # BUILD SECONDS SEED TARGET
	name=$(basename "$4" _fuzz)
	seeds=$(dirname "${4#"$1"/}")/corpus/$name
	mkdir -p "$1/corpus/$name"
	if "$4" -max_total_time="$2" -seed="$3" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$1/crash-$name-" "$1/corpus/$name" "$seeds" >"$4.log" 2>&1; then
		sed -n "s/^#\([0-9]*\).*DONE *\(cov: [0-9]*\).*\(corp: [0-9]*\).*/  ok      $name: \1 runs in $2 s from seed $3, \2, \3/p" \
			"$4.log"
	else
		echo "  FAILED  $name from seed $3"
		tail -n 30 "$4.log"
	fi
}

if [ "$1" = --one ]; then
	shift
	fuzz_one "$@"
	exit 0
fi
build=$1 seconds=$2 seed=$3 jobs=$4
shift 4
mkdir -p "$build"
printf '%s\n' "$@" | xargs -P "$jobs" -I{} sh "$0" --one "$build" "$seconds" "$seed" {} | tee "$build/fuzz.log"
passed=$(grep -c '^  ok ' "$build/fuzz.log")
failed=$(($# - passed))
echo "fuzz: $passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
