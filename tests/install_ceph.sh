#!/usr/bin/env bash
# Ceph's S3 server for `make test-s3`, from Debian's packages. Where they cannot be had, the tests
# that need it are skipped, and say so.
set -euo pipefail
packages=(ceph-common ceph-mon ceph-osd radosgw)

if command -v ceph-mon >/dev/null && command -v ceph-osd >/dev/null && command -v radosgw >/dev/null; then
    exit 0
fi
install="apt-get install --yes --no-install-recommends ${packages[*]}"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Ceph is not installed; as root on Debian or Ubuntu: $install" >&2
    exit 0
fi
# RUNLEVEL=1 keeps the packages from starting daemons: the tests start their own.
export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
apt-get update -qq && $install -qq || echo "Ceph could not be installed" >&2
