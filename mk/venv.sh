#!/bin/sh
# venv.sh BUILD - makes BUILD/venv with what e2e/requirements.txt pins; does nothing when it is there already.
set -eu
venv=$1/venv
if ! cmp -s e2e/requirements.txt "$venv/requirements.txt"; then
	rm -rf "$venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" -q install --disable-pip-version-check -r e2e/requirements.txt
	cp e2e/requirements.txt "$venv/requirements.txt"
fi
