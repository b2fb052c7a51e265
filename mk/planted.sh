#!/bin/sh
# planted.sh BUILD SECONDS COMPILE LINK LIBS - proves that off-by-ones in decoders are found (common/base/planted.h). Of each,
# only the files that mention it are compiled anew; the fuzz target and all else are the build's own and know nothing of
# it. SECONDS 0: the corpus, replayed in a sanitized build, must fail. Else libFuzzer gets the inputs of the corpus that
# do not fail, and must find one that does within SECONDS.
set -u
build=$1
seconds=$2
compile=$3
link=$4
libs=$5
dir=$build/planted
mkdir -p "$dir"
passed=0 failed=0
export LSAN_OPTIONS="suppressions=$PWD/mk/lsan.supp:print_suppressions=0"

build_one() { # NAME TARGET: the fuzz target without its ending; prints nothing
	objects=''
	files=$(grep -l "PLANTED($1)" common/*/*.c)
	for file in $files; do
		object=$dir/$1-$(basename "$file" .c).o
		eval "$compile -DLARDER_PLANTED=PLANTED_$1 -c -o $object $file" || return 1
		objects="$objects $object"
	done
	[ -n "$objects" ] || return 1
	[ "$seconds" != 0 ] || objects="$objects $build/mk/fuzz_main.o"
	eval "$link -o $dir/$1 $build/$2_fuzz.o $objects $build/common.a $libs"
}

hunt() { # NAME CORPUS: 0 when it is found; how, in the log
	if [ "$seconds" = 0 ]; then
		timeout 60 "$dir/$1" "$2" >"$dir/$1.log" 2>&1
		# abort() and CHECK(), or a sanitizer: not that it could not run.
		[ $? = 134 ] || grep -qE 'AddressSanitizer|runtime error' "$dir/$1.log"
		return
	fi
	rm -rf "$dir/$1-seeds"
	mkdir -p "$dir/$1-seeds"
	for input in "$2"/*; do
		"$dir/$1" "$input" >/dev/null 2>&1 && cp "$input" "$dir/$1-seeds"
	done
	"$dir/$1" -max_total_time="$seconds" -seed="${SEED:-1}" -artifact_prefix="$dir/$1-crash-" "$dir/$1-seeds" \
		>"$dir/$1.log" 2>&1
	grep -qE 'AddressSanitizer|runtime error|deadly signal' "$dir/$1.log"
}

names=$(sed -n 's/^	X(\([A-Z_]*\), \([a-z0-9_]*\),.*/\1:\2/p' common/base/planted.h)
for row in $names; do
	name=${row%:*} target=${row#*:}
	[ "$name" = NONE ] && continue
	source=$(echo common/*/"$target"_fuzz.c)
	build_one "$name" "${source%_fuzz.c}" || exit 1
	started=$(date +%s)
	if hunt "$name" "$(dirname "$source")/corpus/$target"; then
		passed=$((passed + 1)) word=found
	else
		failed=$((failed + 1)) word=MISSED
	fi
	how=$(sed -n 's/^==[0-9]*== *ERROR: \(AddressSanitizer: [a-zA-Z-]*\|libFuzzer: [a-z ]*\).*/\1/p; s/^larder: \(bug: .*\)/\1/p; s/^Aborted$/the fuzz target aborts/p' "$dir/$name.log" |
		head -n 1 | cut -c 1-90)
	printf '  %-16s %-9s %-6s in %3s s  %s\n' "$name" "$target" "$word" $(($(date +%s) - started)) "$how"
done
echo "planted: $passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
