#!/bin/sh
# sim.sh PROGRAM SECONDS SEED PROFILE - runs the simulator on every processor for SECONDS, each on seeds of its own, with
# short histories and long ones in turn. Prints the steps of all, and what repeats a failure.
set -u
program=$1
seconds=$2
seed=$3
profile=$4
jobs=$(nproc)
pids='' job=0
while [ "$job" -lt "$jobs" ]; do
	# Most histories are short, so that each begins anew; every second processor runs long ones.
	steps=$([ $((job % 2)) = 0 ] && echo 50000 || echo 1000000)
	"$program" --seed $((seed + job * 1000000)) --seconds "$seconds" --steps "$steps" --profile "$profile" >"$program-$job.log" 2>&1 &
	pids="$pids $!"
	job=$((job + 1))
done
passed=0 failed=0 job=0
for pid in $pids; do
	if wait "$pid"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	sed 's/^/  /' "$program-$job.log"
	job=$((job + 1))
done
cat "$program"-*.log | sed -n 's/.*: \([0-9]*\) steps in.*/\1/p' | awk '{ n += $1 } END { printf "  %d steps in all\n", n }'
echo "sim: $passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
