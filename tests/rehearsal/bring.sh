#!/bin/sh
# Bring the programs of others that the rehearsal needs into a folder: sh bring.sh FOLDER. What cannot be had is said,
# and its tests are skipped; a download that is broken is a failure.
set -eu
folder=$1
mkdir -p "$folder"

as_root() { [ "$(id -u)" = 0 ]; }
lists() { as_root && apt-get -qq update; }

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    :
elif ! command -v apt-get >/dev/null; then
    echo "skipped: Prometheus (not installed, and this machine has no apt-get)"
else
    # Unpacked, not installed: the package would start a service of its own.
    package=$(mktemp -d)
    trap 'rm -rf "$package"' EXIT
    if (cd "$package" && { apt-get -qq download prometheus || { lists && apt-get -qq download prometheus; }; }) 2>"$package/said"; then
        dpkg-deb -x "$package"/prometheus_*.deb "$folder/prometheus"
    else
        echo "skipped: Prometheus ($(tail -1 "$package/said"))"
    fi
fi

if command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1; then
    :
elif command -v apt-get >/dev/null && as_root; then
    { apt-get -qq -y --no-install-recommends install docker-compose || { lists && apt-get -qq -y --no-install-recommends install docker-compose; }; } >/dev/null 2>&1 ||
        echo "skipped: docker-compose (apt-get cannot install it)"
else
    echo "skipped: docker-compose (not installed, and apt-get installs it only for root)"
fi

"${PYTHON:-python3}" -m venv "$folder/kubernetes"
"$folder/kubernetes/bin/pip" --disable-pip-version-check --quiet install -r "$(dirname "$0")/../../requirements/rehearsal.txt"
