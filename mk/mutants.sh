#!/bin/sh
# mutants.sh BUILD STEPS COMPILE LINK LIBS - proves that the simulator finds planted defects (metadata/raft/mutant.h). Of each, only
# the files that mention it are compiled anew; the simulator's own objects are those of the product's build and know
# nothing of it. Each of five seeds runs up to STEPS; three must find it. COMPILE takes -c -o and a file more, LINK -o and
# objects, which come before those of the product.
set -u
build=$1
steps=$2
compile=$3
link=$4
libs=$5
dir=$build/mutants
mkdir -p "$dir"
passed=0 failed=0

# Prints "FOUND MEDIAN": how many of the five seeds fail, and the median of the steps that took.
hunt() { # PROGRAM
	found=0
	: >"$dir/steps"
	for seed in 1 2 3 4 5; do
		if ! timeout 120 "$1" --seed "$seed" --steps "$steps" >"$1-$seed.log" 2>&1; then
			grep -q '^FAILED  repeat' "$1-$seed.log" || continue # it ran out of time, or could not run
			found=$((found + 1))
			sed -n 's/^step 0*\([0-9][0-9]*\).*/\1/p' "$1-$seed.log" | head -n 1 >>"$dir/steps"
		fi
	done
	echo "$found $(sort -n "$dir/steps" | sed -n "$(((found + 1) / 2))p")"
}

printf '  %-22s %s  %12s  %s\n' mutant found 'median steps' 'how'
names=$(sed -n 's/^	X(\([A-Z_]*\), ".*/\1/p' metadata/raft/mutant.h)
for name in $names; do
	[ "$name" = NONE ] && continue
	objects=''
	files=$(grep -l "MUTANT($name)" metadata/raft/*.c metadata/wal/*.c)
	for file in $files; do
		object=$dir/$name-$(basename "$file" .c).o
		eval "$compile -DLARDER_MUTANT=MUTANT_$name -c -o $object $file" || exit 1
		objects="$objects $object"
	done
	[ -n "$objects" ] || { echo "  $name stands in no file" && failed=$((failed + 1)) && continue; }
	eval "$link -o $dir/$name $build/metadata/sim/main.o $objects $build/metadata.a $build/common.a $libs" || exit 1
	hunt "$dir/$name" >"$dir/found"
	read -r found median <"$dir/found"
	how=$(cat "$dir/$name"-*.log | sed -n 's/^step.*s: //p; s/^larder: bug: //p' | head -n 1 | cut -c 1-110)
	printf '  %-22s %5s  %12s  %s\n' "$name" "$found/5" "$median" "$how"
	if [ "$found" -ge 3 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
echo "mutants: $passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
