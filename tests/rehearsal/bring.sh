#!/bin/sh
# Bring the programs of others that the rehearsal needs into a folder: sh bring.sh FOLDER. What cannot be had is said,
# and its tests are skipped; a download that is broken is a failure.
set -eu
folder=$1
mkdir -p "$folder"

as_root() { [ "$(id -u)" = 0 ]; }
lists() { as_root && apt-get -qq update; }
apt_install() {
    { apt-get -qq -y --no-install-recommends install "$@" || { lists && apt-get -qq -y --no-install-recommends install "$@"; }; } >/dev/null 2>&1
}

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
    apt_install docker-compose || echo "skipped: docker-compose (apt-get cannot install it)"
else
    echo "skipped: docker-compose (not installed, and apt-get installs it only for root)"
fi

# A container engine, and Debian with its Python in place of the base image, which no package has. Whether the engine works
# is tried, because that is the kernel's business, too.
engine() {
    as_root || { echo "not root"; return; }
    command -v apt-get >/dev/null || { echo "no apt-get"; return; }
    missing=
    for program in buildah podman runc debootstrap; do
        command -v $program >/dev/null || missing="$missing $program"
    done
    [ -z "$missing" ] || apt_install $missing || { echo "apt-get cannot install$missing"; return; }
    storage=$(realpath "$folder")/containers
    mkdir -p "$storage"
    printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/images"\nrunroot = "%s/run"\n' "$storage" "$storage" >"$folder/storage.conf"
    export CONTAINERS_STORAGE_CONF="$folder/storage.conf"
    if ! podman image exists localhost/python-base 2>/dev/null; then
        base=$(mktemp -d)
        debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$base" >"$folder/debootstrap.log" 2>&1 ||
            { echo "debootstrap failed, see $folder/debootstrap.log"; return; }
        ln -sf python3 "$base/usr/bin/python"
        tar -C "$base" -c . | podman import --quiet - localhost/python-base >/dev/null
        rm -rf "$base"
    fi
    podman --runtime runc run --rm --network host --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --read-only \
        localhost/python-base true 2>"$folder/podman.said" || { echo "podman: $(tail -1 "$folder/podman.said")"; return; }
    echo works
}
engine >"$folder/engine"
grep -q works "$folder/engine" || echo "skipped: the image ($(cat "$folder/engine"))"

"${PYTHON:-python3}" -m venv "$folder/kubernetes"
"$folder/kubernetes/bin/pip" --disable-pip-version-check --quiet install -r "$(dirname "$0")/../../requirements/rehearsal.txt"
