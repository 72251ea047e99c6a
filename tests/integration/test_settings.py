"""Settings that show only while roles change: what holds in one role, and what runs before a stop."""

from __future__ import annotations

import json

from tests.real.cluster import Cluster
from tests.real.node import Node
from tests.real.waiting import wait_until


def _work_mem(node: Node) -> object:
    return node.sql("SHOW work_mem")[0][0]


def _proxy_url(cluster: Cluster, node: Node) -> object:
    member = cluster.key(f"members/{node.name}")
    return member and json.loads(member.value).get("proxy_url")


def test_what_holds_in_one_role_and_what_runs_before_a_stop(cluster: Cluster) -> None:
    """The old primary's ``before_stop`` still finds it writable; parameters change with the roles; callbacks tell."""
    old, taker = cluster.primary(), cluster.standbys()[0]
    place = old.place
    said = place.directory / "before_stop"
    ask = f"{place.bin_dir}/psql -Atw -h {place.directory} -p {place.postgres_port} -U postgres"
    program = f"/bin/sh -c '{ask} -c \"SELECT pg_is_in_recovery()\" postgres > {said}'"
    told = place.directory / "told"
    events = ("on_start", "on_stop", "on_restart", "on_role_change", "on_reload")
    callbacks = dict.fromkeys(events, f"/bin/sh -c 'sleep 0.2; echo $0 $@ >> {told}'")
    proxy = f"{place.address}:6432"
    old.sections["postgresql"] = {"before_stop": program, "proxy_address": proxy, "callbacks": callbacks}
    old.write_config()
    old.reload()
    wait_until(lambda: _proxy_url(cluster, old) == f"postgres://{proxy}/postgres", "the file to be in force", 10)
    roles: dict[str, object] = {"parameters_primary": {"work_mem": "5MB"}, "parameters_replica": {"work_mem": "6MB"}}
    try:
        assert old.rest("PATCH", "/config", {"postgresql": roles}, timeout_s=10).status == 200
        wait_until(lambda: (_work_mem(old), _work_mem(taker)) == ("5MB", "6MB"), "what holds in each role", 10)
        reply = old.rest("POST", "/switchover", {"leader": old.name, "candidate": taker.name}, timeout_s=30)
        assert reply.status == 200, reply
        assert said.read_text() == "f\n"
        cluster.wait_whole()
        wait_until(lambda: (_work_mem(old), _work_mem(taker)) == ("6MB", "5MB"), "what holds in the new roles", 10)
        assert old.rest("POST", "/restart", {}, timeout_s=30).status == 200
        assert old.stop() == 0
        assert told.read_text().splitlines() == [
            "on_reload primary trial",
            "on_stop primary trial",
            "on_role_change replica trial",
            "on_restart replica trial",
            "on_stop replica trial",
        ]
    finally:
        del old.sections["postgresql"]
        old.write_config()
        if old.agent_runs:
            old.reload()
        else:
            old.start()
        taker.rest("PATCH", "/config", {"postgresql": dict.fromkeys(roles)}, timeout_s=10)
