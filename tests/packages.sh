#!/bin/bash
# Finds out which Debian packages are missing for the uses named as arguments (run, test, bench) and installs them when
# run as root; otherwise says which command would.
set -euo pipefail

missing=()

need() { # package, then the command that succeeds when it is there
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has() {
    PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1"
}

has_postgresql() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' || has initdb
}

# The major version that is installed, or that the distribution would install.
postgresql_version() {
    local newest
    newest=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | cut -d/ -f5 | sort -n | tail -1 || true)
    if [ -z "$newest" ]; then
        newest=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -1 || true)
    fi
    echo "${newest:-15}"
}

has_pgxs() {
    compgen -G "/usr/lib/postgresql/$(postgresql_version)/lib/pgxs/src/makefiles/pgxs.mk" ||
        [ -f "$(pg_config --pgxs)" ]
}

for use in "$@"; do
    case $use in
    run)
        need python3-venv /usr/bin/python3 -c 'import ensurepip, venv'
        need postgresql has_postgresql
        need etcd-server has etcd
        need haproxy has haproxy
        need util-linux has setpriv
        ;;
    test)
        need iproute2 has ip
        need nftables has nft
        need pgbouncer has pgbouncer
        need prometheus has prometheus
        need gcc has gcc
        need libc6-dev test -f /usr/include/stdio.h
        need "postgresql-server-dev-$(postgresql_version)" has_pgxs
        ;;
    bench)
        need iproute2 has ip
        need nftables has nft
        need wrk has wrk
        ;;
    *)
        echo "unknown use: $use (known: run, test, bench)" >&2
        exit 2
        ;;
    esac
done

if ((${#missing[@]} == 0)); then
    exit 0
fi
if ((EUID != 0)); then
    echo "Missing here: ${missing[*]}" >&2
    echo "Install with: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    echo "Missing here: ${missing[*]}, and there is no apt-get to install them with" >&2
    exit 1
fi
echo "Installing ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
