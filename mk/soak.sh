#!/bin/sh
# soak.sh MAKE BUILD SECONDS [STEP...] - the long proofs in full, or some steps of them, for they take hours. Each step keeps a
# log of its own in docs/proofs/STEP.log, with date, commit, seed and figures, written when the step has ended.
set -u
make=$1
build=$2
seconds=$3
shift 3
logs=docs/proofs
mkdir -p $logs "$build"
seed=${SEED:-$(date +%s)}
passed=0 failed=0
wanted=" $* "

step() { # NAME WORDS COMMAND...
	name=$1
	words=$2
	shift 2
	case $wanted in *" $name "* | "  ") ;; *) return ;; esac
	started=$(date +%s)
	if "$@" >"$build/soak-$name.log" 2>&1; then
		word=passed passed=$((passed + 1))
	else
		word=FAILED failed=$((failed + 1))
	fi
	{
		echo "$name: $words"
		echo "$(date -u +%Y-%m-%dT%H:%MZ), commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD || echo ' and changes'), seed $seed, $(uname -sr), $(nproc) cores"
		echo "$word in $(($(date +%s) - started)) s"
		grep -E 'seed|kills, |keys[:,] |objects: |passed|failed|FAILED|Error|crash|cov:|inputs|found|MISSED' "$build/soak-$name.log" | tail -n 60
	} | tee "$logs/$name.log"
	echo
}

run_make() { # TARGET and variables
	"$make" --no-print-directory "$@"
}

planted() {
	run_make fuzzers B="$build/fuzz" CC=clang FUZZER=1
	run_make planted B="$build/fuzz" CC=clang FUZZER=1 PLANTED_SECONDS=120
}

step kills "kill -9 of the worker, 300 times an instance, two instances, nine readers" \
	env SEED="$seed" LARDER_KILLS=300 "$make" --no-print-directory e2e B="$build" ARGS="-s -k thirty"
step cycles "300 cycles of up and down" \
	env LARDER_CYCLES=300 "$make" --no-print-directory e2e B="$build" ARGS="-k cycles"
step sync-kills "kill -9 during a sync, 200 times" \
	env SEED="$seed" LARDER_SYNC_KILLS=200 "$make" --no-print-directory e2e B="$build" ARGS="-s -k killed_at_any_point"
step many-keys "10 M keys, 1,000 changes among them" \
	env SEED="$seed" LARDER_KEYS=10000000 "$make" --no-print-directory e2e B="$build" ARGS="-s -k many_keys"
step overwrites "1,000 objects overwritten while they are read, three stores" \
	env LARDER_OVERWRITES=1000 "$make" --no-print-directory e2e B="$build" ARGS="-s -k test_overwrites"
step hostile-keys "1 M keys that are no file names, 100,000 of those that a file system takes; 10,000 files read of each" \
	env SEED="$seed" LARDER_HOSTILE_KEYS=1000000 LARDER_HOSTILE_FILES=100000 LARDER_HOSTILE_SAMPLE=10000 \
	"$make" --no-print-directory e2e B="$build" ARGS="-s -k test_hostile_keys"
step fuzz "each decoder, $seconds s" run_make fuzz B="$build" SECONDS="$seconds" SEED="$seed" FUZZ_JOBS="$(nproc)"
step planted "off-by-ones planted in decoders, found by libFuzzer within 120 s" planted
step mutants "defects planted in the consensus" run_make mutants B="$build"
step sim "simulated masters, 9,900 histories of 91,000 steps" \
	"$build/metadata/larder-sim" --seed "$seed" --seeds 9900 --steps 91000
step sim-long "simulated masters, 100 histories of 1,000,000 steps" \
	"$build/metadata/larder-sim" --seed $((seed + 10000)) --seeds 100 --steps 1000000
echo "soak: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
