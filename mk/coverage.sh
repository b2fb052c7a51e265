#!/bin/sh
# coverage.sh BUILD PERCENT COMPILE LINK LIBS TARGET... - how much of each decoder the corpora reach. A fuzz target names its
# decoders in its first comment ("Decoders: FILE..."). They alone are compiled with counters, and come before the archives
# of the product's build; then the corpus is replayed and gcov says which lines ran. COMPILE takes -c -o and a file more,
# LINK -o and objects. A decoder under PERCENT of its lines fails, and names the lines.
set -u
build=$1
percent=$2
compile=$3
link=$4
libs=$5
shift 5
passed=0 failed=0

decoders() { # TARGET's source
	sed -n "/Decoders:/,/\*\//s/^ \* *\(Decoders: *\)\{0,1\}\([a-z].*\.c\)$/\2/p" "$1"
}

build_replay() { # DIR SOURCE PROGRAM
	objects=''
	for file in $(decoders "$2"); do
		object=$1/$(basename "$file" .c).o
		eval "$compile -O0 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=0 --coverage -c -o $object $file" || return 1
		objects="$objects $object"
	done
	part=$build/${2%%/*}.a
	eval "$link --coverage -o $1/replay $3.o $objects $build/mk/fuzz_main.o $part $build/common.a $libs"
}

# Prints "LINES RUN" of a decoder and writes the lines that did not run.
count() { # DIR FILE
	name=$(basename "$2" .c)
	gcov -t -s "$PWD" -r -o "$1/$name.o" "$2" 2>/dev/null >"$1/$name.gcov" || return 1
	awk -v file="$2" -F: '
		$2 + 0 == 0 { mine = mine && $3 != "Source"; if ($3 == "Source") mine = $4 == file; next }
		{ gsub(/ /, "", $1) }
		!mine || $1 == "-" { next }
		{ lines++ }
		$1 ~ /^[#=]/ { print $0 > missed; next }
		{ run++ }
		END { print lines + 0, run + 0 }' missed="$1/$name.missed" "$1/$name.gcov"
}

for target; do
	source=${target#"$build"/}.c
	dir=$build/coverage/$(basename "$target" _fuzz)
	corpus=$(dirname "$source")/corpus/$(basename "$target" _fuzz)
	rm -rf "$dir"
	mkdir -p "$dir"
	build_replay "$dir" "$source" "$target" && "$dir/replay" "$corpus" >"$dir/log" || exit 1
	for file in $(decoders "$source"); do
		: >"$dir/$(basename "$file" .c).missed"
		count "$dir" "$file" >"$dir/count" || exit 1
		read -r lines run <"$dir/count"
		[ "$lines" -gt 0 ] || exit 1
		word=ok
		if [ $((run * 100)) -lt $((lines * percent)) ]; then
			word=FAILED failed=$((failed + 1))
		else
			passed=$((passed + 1))
		fi
		printf '  %-7s %-12s %5s %%  %4s of %4s lines of %s\n' $word "$(basename "$target" _fuzz)" \
			"$((run * 100 / lines))" "$run" "$lines" "$file"
		[ $word = ok ] || cat "$dir/$(basename "$file" .c).missed"
	done
done
echo "coverage: $passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
