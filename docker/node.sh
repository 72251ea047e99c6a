#!/bin/bash
# What a container of a node runs below tini: the agent, started again whenever a signal has killed it.
#
# An agent that comes back within the ttl goes on with its lease, and PostgreSQL never notices; were the container ended
# instead, PostgreSQL would be killed with it. An agent that ends by itself ends the container: with 0 after it was asked
# to stop, else with its own exit code, and then the engine decides about another try.
set -u

agent='' asked=''

hand_on() { # signal
    [ "$1" = HUP ] || asked=yes
    [ -z "$agent" ] || kill -s "$1" "$agent" 2>/dev/null
}
trap 'hand_on TERM' TERM INT
trap 'hand_on HUP' HUP

while :; do
    # A shell lets its background commands ignore these two, and PostgreSQL would inherit that.
    env --default-signal=INT,QUIT "$@" &
    agent=$!
    # A trapped signal ends the wait, not the agent.
    while :; do
        wait "$agent"
        code=$?
        kill -0 "$agent" 2>/dev/null || break
    done
    # Of a wait that a signal ended together with the agent, bash still knows the agent's own code.
    wait "$agent" 2>/dev/null
    known=$?
    [ "$known" -eq 127 ] || code=$known
    agent=''
    if [ -n "$asked" ] || [ "$code" -le 128 ]; then
        exit "$code"
    fi
    echo "the agent was killed by signal $((code - 128)); it is started again in a second" >&2
    sleep 1
    [ -z "$asked" ] || exit 0
done
