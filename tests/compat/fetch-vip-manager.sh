#!/bin/bash
# Unpacks Debian's vip-manager2 into the directory named as argument, installing nothing: the vip-manager of Debian 12
# does not speak etcd's version 3, so it comes from the next release, by the mirror that this machine uses.
set -euo pipefail

suite=trixie
target=$1
work=$target/apt
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep '/debian/$' | sort -u | head -1)
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
: >"$work/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:?no mirror of Debian among the sources of apt} $suite main" >"$work/sources.list"
options=(
    -q -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/nonexistent
    -o Dir::State="$work" -o Dir::State::Lists="$work/lists" -o Dir::State::Status="$work/status" -o Dir::Cache="$work/cache"
)
apt-get "${options[@]}" update >/dev/null
(cd "$work" && apt-get "${options[@]}" download vip-manager2 >/dev/null)
dpkg-deb -x "$work"/vip-manager2_*.deb "$target"
rm -r "$work"
