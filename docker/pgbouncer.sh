#!/bin/bash
# Writes the one user of the trial where PgBouncer reads it, and becomes PgBouncer.
set -euo pipefail

: "${TRIAL_PASSWORD:?is not set}"
umask 077
printf '"postgres" "%s"\n' "$TRIAL_PASSWORD" >/tmp/userlist.txt
unset TRIAL_PASSWORD
exec pgbouncer /etc/haagent/pgbouncer.ini
