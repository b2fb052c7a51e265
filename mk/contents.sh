#!/bin/sh
# The paths of all files in Debian's packages, as apt-file gets them: contents.sh FILE. apt's own folders are not touched.
set -eu
SUITE=bookworm
TARGET=$1
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
command -v apt-get >/dev/null || exit 1
# The words in single quotes are apt's own names, not the shell's.
# shellcheck disable=SC2016
MIRROR=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep '/debian/\?$' | head -n 1)
test -n "$MIRROR" || {
	echo "contents.sh: no Debian mirror stands in this machine's apt sources" >&2
	exit 1
}
mkdir -p "$WORK/lists/partial"
chmod -R go+rx "$WORK"
echo "deb [arch=amd64] $MIRROR $SUITE main" > "$WORK/sources.list"
set -- -o Dir::Etc::SourceList="$WORK/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$WORK/lists" \
	-o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache= -o APT::Sandbox::User=root
KEY=Acquire::IndexTargets::deb::Contents
apt-get -q update "$@" -o "$KEY::MetaKey=\$(COMPONENT)/Contents-\$(ARCHITECTURE)" -o "$KEY::ShortDescription=Contents" \
	-o "$KEY::Description=Contents" -o "$KEY::KeepCompressed=false" >&2
FOUND=$(find "$WORK/lists" -name '*Contents-amd64*' | head -n 1)
# A line is a path, blanks, and the packages that hold it.
case $FOUND in
*.lz4) lz4 -dc "$FOUND" ;;
*.gz) gzip -dc "$FOUND" ;;
*) cat "$FOUND" ;;
esac | sed 's/[[:space:]]\+[^[:space:]]*$//' > "$TARGET.new"
test "$(wc -l < "$TARGET.new")" -gt 100000
mv "$TARGET.new" "$TARGET"
