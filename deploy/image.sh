#!/usr/bin/env bash
# Builds the image and checks its content: with docker if an engine answers, otherwise with buildah, which needs root
# and no engine. If the base image cannot be pulled, Debian's own Python replaces it.
# IMAGE names the result, BASE_IMAGE the base. Exit code 75: no engine, or no base; the last line says which.
set -euo pipefail
cd "$(dirname "$0")/.."

IMAGE=${IMAGE:-lotus-lake:dev}
BASE_IMAGE=${BASE_IMAGE:-$(sed -n 's/^ARG BASE_IMAGE=//p' Dockerfile)}
WORK=$PWD/.lake/image

unavailable() {
    printf 'skipped: %s\n' "$1"
    exit 75
}

with_docker() {
    docker build --build-arg BASE_IMAGE="$BASE_IMAGE" --tag "$IMAGE" .
    docker run --rm --interactive --network none "$IMAGE" bash -s <deploy/image-checks.sh
    docker image inspect --format '{{.Size}}' "$IMAGE" | awk '{printf "image: %.0f MB\n", $1 / 1e6}'
}

lake_buildah() {
    buildah --root "$WORK/store" --runroot "$WORK/run" --storage-driver "$DRIVER" "$@"
}

# This machine's certificates, for networks that need their own authorities.
with_certificates() {
    local certificates=/etc/ssl/certs/ca-certificates.crt
    if [ -s "$certificates" ]; then
        lake_buildah "$1" --volume "$certificates:$certificates:ro" "${@:2}"
    else
        lake_buildah "$@"
    fi
}

install_buildah() {
    command -v buildah debootstrap >/dev/null && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        unavailable "neither a docker engine nor buildah is available"
    fi
    export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive  # RUNLEVEL: start no daemon
    apt-get update -qq || unavailable "apt-get update failed"
    apt-get install -y -qq --no-install-recommends buildah debootstrap ca-certificates >/dev/null ||
        unavailable "buildah cannot be installed"
}

# Debian's Python in place of the base image, for a machine without access to an image registry.
debian_base() {
    local root=$WORK/debian suite container
    suite=$(sed -n 's/.*-slim-\([a-z]*\)$/\1/p' <<<"$BASE_IMAGE")
    rm -rf "$root"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip "${suite:-bookworm}" "$root" \
        >"$WORK/debootstrap.log" 2>&1 || unavailable "$BASE_IMAGE cannot be pulled, and debootstrap failed"
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
    ln -s /usr/bin/python3 "$root/usr/local/bin/python"
    container=$(lake_buildah from scratch)
    lake_buildah add --quiet "$container" "$root" / >/dev/null
    lake_buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
        --env LANG=C.UTF-8 "$container"
    lake_buildah commit --quiet --rm "$container" "$1" >/dev/null
    rm -rf "$root"
}

with_buildah() {
    install_buildah
    local container outcome=0
    mkdir -p "$WORK"
    export BUILDAH_ISOLATION=chroot
    for DRIVER in overlay vfs; do
        lake_buildah images >/dev/null 2>&1 && break
    done
    if ! lake_buildah pull --quiet --policy missing "$BASE_IMAGE" >/dev/null 2>"$WORK/pull.log"; then
        printf '%s cannot be pulled; Debian'"'"'s own Python replaces it\n' "$BASE_IMAGE"
        BASE_IMAGE=localhost/lotus-lake-base:latest
        lake_buildah inspect --type image "$BASE_IMAGE" >/dev/null 2>&1 || debian_base "$BASE_IMAGE"
    fi
    # Only docker's format supports HEALTHCHECK.
    with_certificates bud --layers --format docker --build-arg BASE_IMAGE="$BASE_IMAGE" --tag "$IMAGE" .
    container=$(lake_buildah from --pull-never "$IMAGE")
    lake_buildah run "$container" -- bash -s <deploy/image-checks.sh || outcome=$?
    lake_buildah rm "$container" >/dev/null
    [ "$outcome" = 0 ] || exit "$outcome"
    lake_buildah images --format 'image: {{.Name}}:{{.Tag}} {{.Size}}' "$IMAGE"
}

if docker info >/dev/null 2>&1; then with_docker; else with_buildah; fi
