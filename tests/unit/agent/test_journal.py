"""The journal's records: what is written down of which decision, how often, and what never is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from haagent.agent.journal import BURST, PAUSE_S, Journal
from haagent.agent.known import TEXT_LIMIT, clean
from haagent.core.actions import Plan
from haagent.core.decide import decide
from haagent.core.facts import (
    Document,
    Failure,
    FenceReport,
    Goal,
    Heartbeat,
    Intent,
    LeaseFacts,
    Outcome,
    Pending,
    Settings,
    SyncKey,
    View,
)
from haagent.core.states import State
from haagent.core.terms import Instant, Lsn, Revision, Term, later
from tests.builders import (
    LSN,
    NOW,
    TERM,
    WALL,
    a_cluster,
    a_guard,
    a_lease,
    a_memory,
    a_poll,
    a_primary,
    a_primary_view,
    a_reply,
    a_silent_dcs,
    a_silent_peer,
    a_view,
    stopped,
)

SECRET = "hunter2"
OK = {
    "Campaign": Outcome("Campaign", result=7),
    "EnsureGuard": Outcome("EnsureGuard"),
}


@dataclass
class Written:
    """A journal with what it wrote."""

    records: list[Document] = field(default_factory=list)
    now: Instant = NOW

    def __post_init__(self) -> None:
        self.journal = Journal(self, "run", lambda: self.now)

    def add(self, record: Document) -> None:
        json.dumps(record, allow_nan=False)
        self.records.append(record)

    def tick(self, view: View, outcomes: tuple[Outcome, ...] = ()) -> Plan:
        plan = decide(view)
        self.journal.noted(view, plan)
        self.journal.done(view, plan, outcomes)
        return plan

    def only(self, kind: str) -> Document:
        (found,) = [record for record in self.records if record["kind"] == kind]
        return found


def cut_off(**changes: Any) -> View:
    """What ``a`` sees whose renewals have failed: the deadline to demote has come."""
    lease = replace(a_lease(permit_s=1.5), demote_at=NOW)
    return a_primary_view(**{"lease": lease, "cluster": a_silent_dcs(later(NOW, -6.0))} | changes)


def request(kind: str = "switchover", origin: str = "postgres@10.0.0.9", **body: Any) -> Intent:
    return Intent(7, kind, body, NOW, origin)


def a_candidate(**changes: Any) -> View:
    memory = a_memory(State.CANDIDATE, since=later(NOW, -0.2), row=670)
    polled = a_poll(a_silent_peer("a"), a_reply("c", lsn=Lsn(LSN - 100)), asked_at=later(NOW, -0.1))
    return a_view(**{"memory": memory, "cluster": a_cluster(leader=None), "peers": polled} | changes)


# --- what is written ---


def test_a_change_of_state_is_written_with_its_reason_and_what_was_known() -> None:
    written = Written()
    plan = written.tick(cut_off())
    record = written.only("change")
    assert (record["row"], record["from"], record["to"]) == (820, "primary", "demoting")
    assert record["why"] == plan.why
    assert record["node"] == "a"
    assert record["at"] == "2023-11-14T22:13:20+00:00"
    assert record["lasted_s"] == 60.0
    assert (record["term"], record["revision"]) == (TERM, 200)
    assert record["ordered"][0] == "StopPostgres"
    known = record["known"]
    assert known["lease"] == {"term": TERM, "permit_s": 1.5, "demote_s": 0.0, "renewed_s": 8.0}
    assert known["dcs"]["silent_s"] == 6.0
    assert known["dcs"]["silent_why"] == "no endpoint answered within 3 s"
    assert known["postgres"]["in_recovery"] is False
    assert known["postgres"]["lsn"] == "0/5000000"
    assert known["postgres"]["standbys"] == ["b", "c"]
    assert known["guard"] == {"alive": True, "armed": True, "permit_s": 8.0}
    assert known["goal"] == "lease"


def test_a_campaign_is_written_with_the_peers_answers() -> None:
    written = Written()
    written.tick(a_candidate(), (OK["EnsureGuard"], OK["Campaign"]))
    record = written.only("act")
    assert record["row"] == 699
    assert record["known"]["peers"] == {
        "asked_s": 0.1,
        "replies": [
            {"name": "a", "silent": "no answer within 0.5 s"},
            {"name": "c", "running": True, "in_recovery": True, "lsn": "0/4FFFF9C", "timeline": 1},
        ],
    }


def test_the_outcome_follows_and_says_what_was_not_done() -> None:
    written = Written()
    view, plan = a_candidate(), decide(a_candidate())
    assert [type(action).__name__ for action in plan.actions][:2] == ["EnsureGuard", "Campaign"]
    written.journal.noted(view, plan)
    written.now = later(NOW, 0.25)
    lost = Outcome("EnsureGuard", Failure.UNREACHABLE, "no fork: out of memory")
    written.journal.done(view, plan, (lost,))
    decision, outcome = written.only("act"), written.only("outcome")
    assert outcome["of"] == decision["id"]
    assert outcome["took_s"] == 0.25
    assert outcome["at"] > decision["at"]
    assert outcome["outcomes"] == [
        {"action": "EnsureGuard", "failure": "unreachable", "detail": "no fork: out of memory"}
    ]
    assert outcome["not_done"][0] == "Campaign"


def test_a_standby_that_must_wait_while_nobody_leads_is_written() -> None:
    written = Written()
    behind = a_view(cluster=a_cluster(leader=None), postgres=replace(a_view().postgres, server=None))
    written.tick(behind)
    record = written.only("wait")
    assert record["row"] == 565
    assert "does not answer as a running standby" in record["known"]["not_eligible"]


def test_a_calm_tick_is_not_written() -> None:
    written = Written()
    written.tick(a_primary_view())
    written.tick(a_view())
    assert written.records == []


def test_the_guards_report_is_written() -> None:
    fired = FenceReport(TERM, 12, 41.5, "the permit ended", "2026-01-01T00:00:00Z")
    written = Written()
    view = cut_off(postgres=stopped(), guard=replace(a_guard(), fired=fired), lease=LeaseFacts())
    written.tick(view)
    assert written.only("change")["known"]["guard"]["fired"]["processes"] == 12


def test_the_latest_term_heard_of_puts_records_in_order() -> None:
    beat = Heartbeat(Term(140), Revision(150), NOW, name="a")
    written = Written()
    written.tick(a_candidate(cluster=replace(a_cluster(leader=None, released=Term(140)), heartbeat=beat)))
    assert written.only("act")["term"] == 140


def test_the_electorate_is_written() -> None:
    written = Written()
    view = a_candidate(
        settings=Settings(synchronous_mode="on"),
        cluster=a_cluster(leader=None, sync=SyncKey(Revision(4), "a", 0, ("b",))),
    )
    written.tick(view)
    record = next(one for one in written.records if "known" in one)
    assert record["known"]["dcs"]["sync"] == {"leader": "a", "quorum": 0, "standbys": ["b"]}


# --- who asked ---


def test_a_stop_for_a_switchover_names_who_asked() -> None:
    intent = request(leader="a", candidate="b")
    stop = Plan(880, "a change of leader", (), a_memory(State.DEMOTING, goal=Goal.SWITCHOVER), NOW, 1.0)
    view = a_primary_view(memory=a_memory(State.PRIMARY, pending=(Pending(intent, "a", "b"),)))
    written = Written()
    written.journal.noted(view, stop)
    assert written.only("change")["request"] == {
        "id": 7,
        "kind": "switchover",
        "origin": "postgres@10.0.0.9",
        "asked": {"leader": "a", "candidate": "b"},
    }


def test_a_crash_is_not_laid_at_the_door_of_who_asked_for_something_else() -> None:
    view = cut_off(memory=a_memory(State.PRIMARY, pending=(Pending(request(leader="a", candidate="b"), "a", "b"),)))
    written = Written()
    written.tick(view)
    assert "request" not in written.only("change")


def test_a_request_and_its_answer_are_written() -> None:
    written = Written()
    written.tick(a_view(intents=(request(leader="c", candidate="b"),)))
    assert written.only("request")["request"]["origin"] == "postgres@10.0.0.9"
    reply = written.only("reply")
    assert (reply["status"], reply["text"]) == (412, "leader name does not match")


def test_what_agents_ask_each_other_is_not_written() -> None:
    written = Written()
    written.tick(a_view(intents=(request("failsafe", name="a"),)))
    assert written.records == []


# --- what never is ---


def test_values_of_a_configuration_are_never_written() -> None:
    body: dict[str, Any] = {"postgresql": {"parameters": {"primary_conninfo": f"password={SECRET}"}}, "ttl": SECRET}
    written = Written()
    for kind in ("patch_config", "put_config"):
        plan = written.tick(a_view(intents=(request(kind, **body),)))
        pending = replace(a_memory(), pending=plan.memory.pending)
        refused = Outcome("PutConfig", Failure.REFUSED, f"ttl is {SECRET}", "invalid")
        written.tick(a_view(memory=pending, outcomes=(refused,)))
        other = replace(cut_off(outcomes=(refused,)), memory=replace(cut_off().memory, pending=plan.memory.pending))
        written.tick(other, (refused,))
    assert {"request", "reply", "change", "outcome"} <= {str(record["kind"]) for record in written.records}
    assert written.records[0]["request"]["asked"] == {"keys": ["postgresql", "ttl"]}
    assert SECRET not in json.dumps(written.records)


@pytest.mark.parametrize(
    "text",
    [
        f"could not connect: postgres://replicator:{SECRET}@10.0.0.1:5432/postgres",
        f"postgres://replicator:p@ss{SECRET}@10.0.0.1/x failed",
        f"host=x password={SECRET} user=y",
        f"host=x password='it''s {SECRET}' user=y",
        rf"host=x password='a\' {SECRET}' user=y",
        f'{{"password": "{SECRET}"}}',
        f"PGPASSWORD={SECRET} pg_basebackup",
        f"Authorization token: {SECRET}",
        "x" * (TEXT_LIMIT - 10) + f" password='aaa {SECRET}",
    ],
)
def test_passwords_in_texts_are_hidden(text: str) -> None:
    assert SECRET not in clean(text)
    assert "***" in clean(text) or len(clean(text)) == TEXT_LIMIT


@pytest.mark.parametrize(
    "text",
    ['FATAL: password authentication failed for user "x"', "http://10.0.0.1:8008: no answer within 0.5 s"],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert clean(text) == text


def test_long_texts_are_cut() -> None:
    assert len(clean("x" * 100_000)) == TEXT_LIMIT


# --- how often ---


def test_the_same_over_and_over_is_written_now_and_then_with_a_count() -> None:
    written = Written()
    refused = (OK["EnsureGuard"], Outcome("Campaign", Failure.UNKNOWN, "etcdserver: mvcc: database space exceeded"))
    for number in range(1000):
        at = later(NOW, 0.1 * number)
        memory = a_memory(State.CANDIDATE, since=at, row=670)
        peers = a_poll(a_silent_peer("a"), asked_at=at)
        written.now = at
        written.tick(a_candidate(now=at, memory=memory, peers=peers), refused)
    acts = [record for record in written.records if record["kind"] == "act"]
    assert BURST <= len(acts) <= BURST + 100 / PAUSE_S + 1
    assert sum(record.get("repeated", 0) for record in acts) + len(acts) > 1000 - 10 * PAUSE_S - 1
    assert acts[-1]["repeated"] > 200


def test_every_change_to_and_from_primary_is_written() -> None:
    written = Written()
    for _ in range(3 * BURST):
        written.tick(cut_off())
    assert len([record for record in written.records if record["kind"] == "change"]) == 3 * BURST


def test_a_failure_in_here_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def add(self, record: Document) -> None:
            raise ValueError("no room")

    journal, view = Journal(Broken(), "run", lambda: NOW), cut_off()
    plan = decide(view)
    journal.noted(view, plan)
    journal.done(view, plan, ())
    assert "could not be written down" in caplog.text


def test_a_paused_permit_without_end_is_left_out() -> None:
    forever = Instant(float("inf"))
    lease = replace(a_lease(), permit_until=forever, demote_at=forever)
    written = Written()
    view = a_primary_view(
        settings=Settings(pause=True),
        lease=lease,
        postgres=replace(a_primary(), postmaster=None),
        wall=WALL,
        stopping=True,
    )
    written.tick(view)
    known = written.records[0]["known"]
    assert known["paused"] is True
    assert "permit_s" not in known["lease"]
