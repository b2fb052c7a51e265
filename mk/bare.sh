#!/bin/sh
# bare.sh SUITE... - proves that a bare Debian with git and make is enough: makes each suite's smallest tree with
# debootstrap, puts a clone of HEAD into it, and there runs, by chroot in name spaces of its own, the lines of
# BARE_COMMANDS. Nothing is left behind but the cache: ${XDG_CACHE_HOME:-~/.cache}/larder-bare.
set -eu
commands=${BARE_COMMANDS:-"make run RUN_ONCE=1
make test"}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/larder-bare

die() {
	echo "larder: $*" >&2
	exit 1
}

# The mirror this machine uses for Debian itself, whatever file its sources stand in.
mirror() {
	# shellcheck disable=SC2016 # a format of apt's
	uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
	[ -n "$uri" ] || die "no Debian mirror among this machine's apt sources; run apt-get update first"
	echo "$uri"
}

# What makes apt and pip work here (a proxy, an authority of a firm) has to hold in the tree too.
copy_settings() { # TREE
	apt-config dump | grep -E '^Acquire::(https?::|Check-|Retries)' >"$1/etc/apt/apt.conf.d/90larder" || true
	cp -L /etc/resolv.conf "$1/etc/resolv.conf"
	[ -e "$1/etc/hosts" ] || echo '127.0.0.1 localhost' >"$1/etc/hosts" # an installer writes it, debootstrap of 12 does not
	for conf in "$HOME/.config/pip/pip.conf" /etc/pip.conf; do
		[ ! -f "$conf" ] || cp -L "$conf" "$1/etc/pip.conf"
	done
	mkdir -p "$1/usr/local/share/ca-certificates"
	cp -RL /usr/local/share/ca-certificates/. "$1/usr/local/share/ca-certificates/"
}

make_base() { # SUITE: $cache/SUITE.tar
	[ ! -f "$cache/$1.tar" ] || return 0
	tree=$(mktemp -d "$cache/base-$1-XXXXXX")
	echo "larder: debootstrap $1, once"
	debootstrap --variant=minbase "$1" "$tree" "$(mirror)" >"$cache/$1.log" 2>&1 ||
		die "debootstrap of $1 failed; see $cache/$1.log"
	rm -f "$tree"/var/cache/apt/archives/*.deb
	tar -C "$tree" --numeric-owner -cf "$cache/$1.tar.new" .
	mv "$cache/$1.tar.new" "$cache/$1.tar"
	rm -rf --one-file-system "$tree"
}

# Runs in name spaces of its own: what is mounted here ends with the last process.
inside() { # TREE
	mkdir -p "$1/var/cache/apt/archives" "$1/src"
	mount --bind "$1" "$1" # so that / is a mount in there, as it is everywhere
	mount --rbind /dev "$1/dev"
	mount --rbind /sys "$1/sys"
	mount -t proc proc "$1/proc"
	mount --bind "$cache/archives" "$1/var/cache/apt/archives"
	cat >"$1/tmp/bare" <<-'END'
		set -eu
		export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends git make ca-certificates >/dev/null 2>&1
		update-ca-certificates >/dev/null 2>&1
		git config --global init.defaultBranch main
		git config --global --add safe.directory '*'
		rmdir /src && git clone -q /larder.git /src && cd /src
		printf '%s\n' "$BARE_COMMANDS" | while read -r command; do
			[ -n "$command" ] || continue
			echo "bare: $BARE_SUITE: $command"
			started=$(date +%s)
			status=0
			sh -c "$command" </dev/null || status=$?
			echo "bare: $BARE_SUITE: $command: exit $status, $(($(date +%s) - started)) s" | tee -a /bare.summary
			[ "$status" = 0 ] || exit "$status"
		done
	END
	exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb CI="${CI:-}" BARE_COMMANDS="$commands" BARE_SUITE="$2" \
		chroot "$1" sh /tmp/bare
}

if [ "${1:-}" = --inside ]; then
	inside "$2" "$3"
fi

[ "$(id -u)" = 0 ] || die "make bare needs root: sudo make bare"
command -v debootstrap >/dev/null || die "no debootstrap; make deps installs it"
mkdir -p "$cache/archives"
failed=0 tree=
trap '[ -z "$tree" ] || rm -rf --one-file-system "$tree"' EXIT
trap 'exit 1' INT TERM
summary=
for suite; do
	make_base "$suite"
	tree=$(mktemp -d "$cache/tree-$suite-XXXXXX")
	tar -C "$tree" --numeric-owner -xf "$cache/$suite.tar"
	chmod 755 "$tree" # it is / in there, and not for root alone
	copy_settings "$tree"
	git clone -q --bare --no-hardlinks . "$tree/larder.git"
	git -C "$tree/larder.git" update-ref --no-deref HEAD "$(git rev-parse HEAD)"
	status=0
	unshare --mount --pid --fork --kill-child sh "$0" --inside "$tree" "$suite" || status=$?
	[ "$status" = 0 ] || failed=$((failed + 1))
	summary="$summary
$(cat "$tree/bare.summary" 2>/dev/null || echo "bare: $suite: could not be prepared")"
	rm -rf --one-file-system "$tree"
	tree=
done
echo "$summary"
[ "$failed" = 0 ]
