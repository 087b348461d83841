#!/bin/sh
# perf_analyzer is linked with libb64, which Debian has: fetched and unpacked into the folder named, nothing is installed.
# Where that cannot be done, the machine is one that perf_analyzer does not run on; the checks with it are then skipped.
set -eu
cd "$1"
mkdir -p apt/lists/partial apt/cache/archives/partial usr/lib
options="-qq -o Dir::State::Lists=$PWD/apt/lists -o Dir::Cache=$PWD/apt/cache -o APT::Sandbox::User=$(id -un)"
if (cd apt && apt-get $options update && apt-get $options download libb64-0d && dpkg -x libb64-0d_*.deb .) >apt/said 2>&1; then
    cp apt/usr/lib/*/libb64.so.0d usr/lib/
else
    echo "no libb64-0d for perf_analyzer on this machine: $(tail -n 1 apt/said)" >&2
fi
rm -rf apt
