"""Every check of a node: nothing to say of one that is well, and the right words for each thing that is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from haagent.core.facts import GuardFacts, Settings, WatchdogFacts
from haagent.core.health.facts import Archiver, ClockFacts, Hook, Login, Name, NodeFacts, Road, Unit, Volume
from haagent.core.health.finding import Finding, Verdict, read, summary, told
from haagent.core.health.judge import CHECKS, judged, report
from haagent.core.lease import timing
from haagent.core.states import State
from haagent.core.terms import SystemId
from tests.builders import WALL, a_memory, a_primary_view, a_server, a_silent_dcs, a_standby, a_view
from tests.unit.core.health.facts import DATA, GIB, SQL, a_host, a_path, some_facts

OK, WARNING, PROBLEM, UNKNOWN = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.UNKNOWN
PRIMARY = a_primary_view()


def with_sql(**settings: str) -> NodeFacts:
    return some_facts(sql=replace(SQL, settings={**SQL.settings, **settings}))


def with_host(**changes: Any) -> NodeFacts:
    return some_facts(host=a_host(**changes))


def with_server(**changes: Any) -> NodeFacts:
    return some_facts(view=a_view(postgres=a_standby(**changes)))


def finding(facts: NodeFacts, name: str) -> Finding:
    return next(one for one in judged(facts) if one.id == name)


def test_a_healthy_node_gives_no_cause_for_concern() -> None:
    fenced = a_view(postgres=a_standby(fenced=True))
    assert [one for one in judged(some_facts(view=fenced)) if one.verdict is not OK] == []


def test_a_healthy_primary_neither() -> None:
    server = replace(PRIMARY.postgres, server=replace(PRIMARY.postgres.server or a_server(), fenced=True))
    found = judged(some_facts(view=replace(PRIMARY, postgres=server)))
    assert [one for one in found if one.verdict is not OK] == []


def test_every_check_has_a_name_of_its_own() -> None:
    names = [one.id for one in judged(some_facts())]
    assert len(names) == len(set(names)) == len(CHECKS)


@pytest.mark.parametrize(
    ("facts", "name", "verdict", "words"),
    [
        (with_host(data=a_path(directory=False)), "data-directory", PROBLEM, "is no directory"),
        (with_host(data=a_path(there=False, why="Permission denied")), "data-directory-mode", UNKNOWN, "Permission"),
        (with_host(data=a_path(uid=0)), "data-directory-owner", PROBLEM, "uid 0, but the agent runs as postgres"),
        (with_host(uid=0, data=a_path(uid=0)), "data-directory-owner", PROBLEM, "belongs to root"),
        (with_host(data=a_path(mode=0o755)), "data-directory-mode", PROBLEM, "0755"),
        (with_host(volumes=(Volume(DATA, DATA, "ext4", 8, 10),)), "data-directory-mount", WARNING, "mount point"),
        (with_host(volumes=(Volume(DATA, "/n", "nfs4", 8, 10),)), "data-directory-mount", WARNING, "/n (nfs4)"),
        (with_host(volumes=(Volume(DATA, "/", "ext4", GIB, 20 * GIB),)), "free-space", WARNING, "1024 MiB free"),
        (with_host(volumes=(Volume(DATA, "/", "ext4", GIB, 99 * GIB),)), "free-space", PROBLEM, "1.0 %"),
        (with_host(state_dir=a_path(writable=False)), "state-directory", PROBLEM, "can't be written"),
        (with_host(password_file=a_path(mode=0o640)), "password-file", PROBLEM, "0640: libpq ignores"),
        (with_host(secrets=(a_path("/k", mode=0o644),)), "secret-files", WARNING, "/k has mode 0644"),
        (with_host(secrets=(a_path("/k", there=False),)), "secret-files", PROBLEM, "/k (not there)"),
        (with_host(units=(Unit("postgresql@15-main.service", True),)), "competing-units", PROBLEM, "15-main"),
        (with_host(units=(Unit("patroni.service", False),)), "competing-units", WARNING, "patroni.service"),
        (with_host(units=None), "competing-units", UNKNOWN, "systemd"),
        (
            with_host(hooks=(Hook("postgresql.pre_promote", "/x", "/x is not there"),)),
            "hooks",
            PROBLEM,
            "never promoted",
        ),
        (with_host(missing_programs=("pg_rewind",)), "programs", PROBLEM, "pg_rewind not found in PATH"),
        (with_host(programs_version="16"), "programs", PROBLEM, "data is of PostgreSQL 15"),
        (with_host(clock=ClockFacts("hpet", True)), "clock-source", WARNING, "hpet"),
        (with_host(clock=ClockFacts("tsc", False)), "clock-synchronised", WARNING, "nothing disciplines"),
        (with_host(certificates={"restapi.certfile": WALL + 86400}), "certificates", WARNING, "1.0 days"),
        (with_host(certificates={"restapi.certfile": WALL - 86400}), "certificates", PROBLEM, "ended 1.0 days ago"),
        (with_host(certificates={"etcd3.cert": "no PEM"}), "certificates", PROBLEM, "etcd3.cert: no PEM"),
        (with_host(names=(Name("pg7", "member c (pg7)", why="unknown"),)), "names", PROBLEM, "pg7 (member c"),
        (with_host(looked=False), "programs", UNKNOWN, "did not answer"),
        (some_facts(warnings=("ttll is not known",)), "configuration", WARNING, "1 remarks: ttll"),
        (some_facts(unanswered=("files (3 s)",)), "gathered", WARNING, "files (3 s)"),
        (some_facts(fence_mode="off"), "commit-fence", WARNING, "is off"),
        (some_facts(fence_installed=False), "commit-fence", WARNING, "not installed"),
        (some_facts(fence_installed=False, fence_mode="required"), "commit-fence", PROBLEM, "may not lead"),
        (with_sql(wal_log_hints="off"), "rewind", WARNING, "cloned anew"),
        (with_sql(max_wal_senders="3"), "wal-senders", PROBLEM, "is 3, but 4 are needed"),
        (with_sql(max_replication_slots="2"), "replication-slots", PROBLEM, "is 2, but 3 are needed"),
        (with_sql(fsync="off"), "durability", PROBLEM, "fsync off"),
        (with_sql(synchronous_commit="off"), "durability", WARNING, "synchronous_commit is off"),
        (with_sql(max_connections="5"), "connections", WARNING, "5 of 5"),
        (some_facts(sql=None, sql_why="it is down"), "archiver", UNKNOWN, "it is down"),
        (some_facts(sql=replace(SQL, retained={"s": 5 * GIB})), "slots-retained", WARNING, "5.0 GiB"),
        (with_server(pending_restart={"max_connections": ("1", "2")}), "pending-restart", WARNING, "1 → 2"),
        (with_server(replay_paused=True), "replication", PROBLEM, "replay is paused"),
        (with_server(short_of={"max_connections": (50, 100)}), "replication", PROBLEM, "is 50, the primary has 100"),
        (with_server(receiver=None), "replication", PROBLEM, "does not stream from a"),
        (some_facts(view=a_view(guard=GuardFacts())), "guard", PROBLEM, "no guard process"),
        (some_facts(view=a_view(memory=a_memory(State.FAILED))), "state", PROBLEM, "failed for"),
        (some_facts(view=a_view(cluster=a_silent_dcs())), "etcd-from-here", PROBLEM, "silent for"),
        (some_facts(snapshot=None, dcs="no endpoint"), "rest-ports", UNKNOWN, "etcd-from-here"),
        (some_facts(roads=(Road("c", "REST API", "c:8008", why="refused"),)), "rest-ports", PROBLEM, "c:8008: refused"),
        (some_facts(roads=(Road("c", "PostgreSQL", "c:1", 250),)), "postgres-ports", WARNING, "250 ms"),
        (some_facts(logins=(Login("c", "rewind", "r", "no pg_hba"),)), "rewind-logins", PROBLEM, "r at c: no pg_hba"),
        (
            some_facts(logins=(Login("c", "replication", "r", system_id="7"),)),
            "replication-logins",
            PROBLEM,
            "system 7",
        ),
        (some_facts(view=replace(PRIMARY, lease=replace(PRIMARY.lease, lost="gone"))), "lease", PROBLEM, "gone"),
    ],
)
def test_what_is_wrong_is_found(facts: NodeFacts, name: str, verdict: Verdict, words: str) -> None:
    found = finding(facts, name)
    assert (found.verdict, words in found.evidence) == (verdict, True), found
    assert found.mend or verdict is UNKNOWN


def test_an_archiver_that_fails_is_told_from_one_that_has_recovered() -> None:
    archiving = replace(SQL, settings={**SQL.settings, "archive_mode": "on"})
    failing = replace(archiving, archiver=Archiver(7, "00000001000000000000000A", 3.0, 600.0))
    assert "failed 3 s ago (7 failures)" in finding(some_facts(sql=failing), "archiver").evidence
    recovered = replace(archiving, archiver=Archiver(7, "00000001000000000000000A", 600.0, 3.0))
    assert finding(some_facts(sql=recovered), "archiver").verdict is OK


@pytest.mark.parametrize(("peer", "verdict"), [("10.0.0.1", PROBLEM), ("127.0.0.1", WARNING)])
def test_an_address_of_this_machine_alone_misleads_other_machines(peer: str, verdict: Verdict) -> None:
    own = Name("localhost", "restapi.connect_address", ("127.0.0.1",))
    found = finding(with_host(names=(own, Name(peer, "member a", (peer,)))), "connect-address")
    assert (found.verdict, "restapi.connect_address is localhost" in found.evidence) == (verdict, True)


@pytest.mark.parametrize(("mode", "verdict"), [("required", PROBLEM), ("automatic", WARNING)])
def test_a_watchdog_device_that_cannot_be_opened(mode: str, verdict: Verdict) -> None:
    device = a_path("/dev/watchdog", writable=False, mode=0o600)
    facts = some_facts(host=a_host(watchdog=device), watchdog_mode=mode)
    assert finding(facts, "watchdog").verdict is verdict
    opened = a_view(watchdog=WatchdogFacts(mode, "/dev/watchdog", open=True, timeout_s=5))
    assert finding(replace(facts, view=opened), "watchdog").verdict is OK


def test_deadlines_without_room_for_one_lost_request() -> None:
    tight = Settings(ttl=10, loop_wait=4, retry_timeout=4)
    found = finding(some_facts(settings=tight, timing=timing(10, 4, 4)), "deadlines")
    assert (found.verdict, "leaves 0.00 s" in found.evidence) == (WARNING, True)


def test_data_of_another_cluster() -> None:
    standby = a_standby()
    foreign = replace(standby, data=replace(standby.data, system_id=SystemId("1")))
    assert finding(some_facts(view=a_view(postgres=foreign)), "system-identifier").verdict is PROBLEM


def test_before_service_there_is_no_view() -> None:
    facts = replace(some_facts(), view=None)
    assert {one.verdict for one in judged(facts)} == {OK}


def test_a_report_is_read_back_as_it_was() -> None:
    facts = with_sql(fsync="off")
    document = report(facts)
    assert [read(one) for one in document["findings"]] == judged(facts)
    assert document["alike"]["fsync"] == "off"
    assert read({"verdict": "fine"}) is None


def test_what_is_wrong_is_told_first() -> None:
    found = judged(with_sql(fsync="off", synchronous_commit="off", wal_log_hints="off"))
    lines = told(found)
    assert lines[0].startswith("problem  durability ")
    assert lines[1].strip() == "mend: haagent-ctl edit-config demo -p fsync=on"
    assert summary(found).startswith(f"{len(CHECKS)} checks: ")
