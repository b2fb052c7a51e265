#!/bin/sh
# soak.sh MAKE BUILD [SECONDS] - the long proofs in full; the log, with date, commit, seed and figures, is kept in
# docs/proofs/soak.log.
set -u
make=$1
build=$2
seconds=${3:-600}
log=docs/proofs/soak.log
mkdir -p docs/proofs "$build"
seed=${SEED:-$(date +%s)}
failed=0

step() { # NAME COMMAND...
	name=$1
	shift
	started=$(date +%s)
	if "$@" >"$build/soak-step.log" 2>&1; then word=passed; else
		word=FAILED
		failed=$((failed + 1))
	fi
	printf '\n== %s: %s in %s s\n' "$name" "$word" $(($(date +%s) - started))
	grep -E 'seed|kills, |keys: |objects: |passed|failed|FAILED|Error|crash|cov:|inputs' "$build/soak-step.log" | tail -n 40
}

{
	echo "date $(date -u +%Y-%m-%dT%H:%MZ), commit $(git rev-parse --short HEAD), seed $seed, $(uname -sr), $(nproc) cores"
	step "kill -9 of the worker, 300 times an instance, two instances, nine readers" \
		env SEED="$seed" LARDER_KILLS=300 "$make" --no-print-directory e2e B="$build" ARGS="-s -k thirty"
	step "300 cycles of up and down" \
		env LARDER_CYCLES=300 "$make" --no-print-directory e2e B="$build" ARGS="-k cycles"
	step "kill -9 during a sync, 200 times" \
		env SEED="$seed" LARDER_SYNC_KILLS=200 "$make" --no-print-directory e2e B="$build" ARGS="-s -k killed_at_any_point"
	step "10 million keys and 1,000 changes among them" \
		env LARDER_KEYS=10000000 "$make" --no-print-directory e2e B="$build" ARGS="-s -k many_keys"
	step "1,000 objects overwritten while they are read, three stores" \
		env LARDER_OVERWRITES=1000 "$make" --no-print-directory e2e B="$build" ARGS="-s -k test_overwrites"
	step "fuzz targets, $seconds s each" "$make" --no-print-directory fuzz B="$build" SECONDS="$seconds"
	step "planted defects in the consensus" "$make" --no-print-directory mutants B="$build"
	step "simulated masters, 9,900 histories of 91,000 steps" \
		"$build/metadata/larder-sim" --seed "$seed" --seeds 9900 --steps 91000
	step "simulated masters, 100 histories of 1,000,000 steps" \
		"$build/metadata/larder-sim" --seed $((seed + 10000)) --seeds 100 --steps 1000000
	printf '\nsoak: %s of 9 failed\n' "$failed"
} | tee "$build/soak.log"
cp "$build/soak.log" "$log"
grep -q '^soak: 0 of 9 failed' "$log"
