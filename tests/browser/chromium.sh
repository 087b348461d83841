#!/bin/sh
# See to it that there is a Chromium: Debian's package, which playwright then drives; its own download is not needed.
# Where it cannot be had, say why, and the tests skip.
set -eu
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "there is no chromium, and installing it takes root and apt-get: the tests of the page skip"
    exit 0
fi
apt-get -qq update
apt-get -qq install --yes --no-install-recommends chromium fonts-inter >/dev/null ||
    echo "chromium cannot be installed from this machine's package sources: the tests of the page skip"
