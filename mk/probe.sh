#!/bin/sh
# probe.sh COMPILER OUT - which optional compiler and linker flags this compiler takes. Writes make
# variables to OUT and prints the flags that are missing, so that nobody believes in a hardening that is not there.
set -eu
cc=$1
out=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
echo 'int main(void) { return 0; }' >"$dir/t.c"

try() { # KIND FLAG: 0 when the compiler takes FLAG without a word
	case $1 in
	cc) "$cc" -Werror "$2" -c -o "$dir/t.o" "$dir/t.c" 2>/dev/null ;;
	ld) "$cc" -Werror "$2" -o "$dir/t" "$dir/t.c" 2>/dev/null ;;
	esac
}

collect() { # KIND FLAG...: prints those taken, notes the others
	kind=$1
	shift
	for flag; do
		if try "$kind" "$flag"; then
			printf ' %s' "$flag"
		else
			echo "$flag" >>"$dir/missing"
		fi
	done
}

: >"$dir/missing"
{
	printf 'WARN_PROBED :='
	collect cc -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
		-Wmissing-prototypes -Wold-style-definition -Wwrite-strings -Wcast-align \
		-Wpointer-arith -Wformat=2 -Wundef -Wvla -Wimplicit-fallthrough -Wnull-dereference -Wdouble-promotion
	case $("$cc" --version | head -n 1) in
	*clang*) collect cc -Wcomma -Wshorten-64-to-32 -Wno-gnu-zero-variadic-macro-arguments ;;
	# Not by clang: it looks into the macros of protobuf-c 1.5, whose empty strings drop a const.
	*) collect cc -Wcast-qual -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wformat-signedness -Wno-format-truncation ;;
	esac
	printf '\nHARDEN_CC :='
	collect cc -fstack-protector-strong -fstack-clash-protection -fcf-protection \
		-ftrivial-auto-var-init=zero -fno-strict-overflow -fstrict-flex-arrays=3
	printf '\nHARDEN_LD :='
	collect ld -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack
	printf '\n'
} >"$dir/out"
mv "$dir/out" "$out"
if [ -s "$dir/missing" ]; then
	echo "note: $cc does not take: $(tr '\n' ' ' <"$dir/missing")"
fi
