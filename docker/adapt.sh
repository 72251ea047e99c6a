#!/bin/bash
# Puts the project's own HAProxy and PgBouncer configuration into the shape of this network of containers, so that there
# is one set of numbers only: adapt.sh FROM TO
set -euo pipefail

from=$1 to=$2
mkdir -p "$to"

# Addresses as compose.yml gives them; logs to the engine; no change of user, since it starts as one; page for the host.
sed -E \
    -e 's/\b10\.0\.0\.([123]):5432/172.30.83.1\1:5432/' \
    -e 's/^( *)log \/dev\/log local0$/\1log stdout format raw local0/' \
    -e '/^ *(user|group) haproxy$/d' \
    -e 's/^( *)bind 127\.0\.0\.1:7000$/\1bind *:7000/' \
    "$from/haproxy.cfg" >"$to/haproxy.cfg"

# HAProxy is another container; clients come from the host; no files but those in /tmp.
sed -E \
    -e 's/host=127\.0\.0\.1/host=haproxy/' \
    -e 's/^listen_addr = .*/listen_addr = */' \
    -e '/^(logfile|pidfile) = /d' \
    -e 's/^unix_socket_dir = .*/unix_socket_dir =/' \
    -e 's/^auth_file = .*/auth_file = \/tmp\/userlist.txt/' \
    "$from/pgbouncer.ini" >"$to/pgbouncer.ini"
