"""``haagent-ctl why``: which changes of role are told of journals, in what order and words."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from haagent.ctl import changes, story
from haagent.ctl.story import Record, merged
from haagent.ctl.words import duration, knew
from tests.builders import a_snapshot, host_of, members_of
from tests.unit.ctl.world import FakeAgents, FakeDcs, World, standby_status

BEGINNING = datetime(2026, 1, 1, 10, 0, 0, tzinfo=UTC)


class Scribe:
    """Writes one node's journal; its clock may go wrong."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.records: list[dict[str, Any]] = []
        self.ahead_s = ahead_s
        self._ids = count(1)

    def note(self, kind: str, at_s: float, **fields: Any) -> Scribe:
        at = BEGINNING + timedelta(seconds=at_s + self.ahead_s)
        self.records.append({"id": f"x-{next(self._ids)}", "at": at.isoformat(), "kind": kind} | fields)
        return self

    def change(self, at_s: float, old: str, new: str, row: int, why: str = "so it is", **fields: Any) -> Scribe:
        defaults: dict[str, Any] = {"term": 100, "revision": 200, "lasted_s": 60.0, "ordered": [], "known": {}}
        return self.note("change", at_s, **(defaults | {"from": old, "to": new, "row": row, "why": why} | fields))


def a_failover(ahead_s: float = 0.0) -> dict[str, list[dict[str, Any]]]:
    """``a``, whose clock is so far ahead, stops; ``b`` takes over 8 s later."""
    silent = {"dcs": {"silent_s": 6.04, "silent_why": "no endpoint answered"}, "lease": {"term": 100, "permit_s": 1.5}}
    a = Scribe(ahead_s).change(0, "primary", "demoting", 820, "the lease could not be renewed", known=silent)
    a.change(1, "demoting", "fenced", 915, "PostgreSQL is stopped").change(
        30, "fenced", "starting", 1064, term=130, revision=260
    )
    free = {"dcs": {"heartbeat_s": 10.1}, "peers": {"replies": [{"name": "a", "silent": "no answer within 0.5 s"}]}}
    b = Scribe().change(8, "standby", "candidate", 560, "the leader key is free", revision=220)
    b.note("act", 8.1, row=699, why="it campaigns", ordered=["Campaign"], term=100, revision=220, known=free)
    b.change(8.2, "candidate", "promoting", 625, "the leader key was won", term=130, revision=221)
    b.change(8.5, "promoting", "primary", 745, "PostgreSQL accepts writes", term=130, revision=222)
    return {"a": a.records, "b": b.records}


def a_world(journals: dict[str, list[dict[str, Any]]], **agents: Any) -> World:
    kept: dict[str, list[Any]] = {host_of(name): list(records) for name, records in journals.items()}
    return World(FakeDcs(a_snapshot(*members_of(("a", "b", "c")))), FakeAgents(journals=kept, **agents))


def gists(journals: dict[str, list[dict[str, Any]]]) -> list[str]:
    told = story.of_the_cluster(story.events(journals))
    return [f"{one.node} {changes.headline(one)}" for one in told]


# --- the order ---


@pytest.mark.parametrize("ahead_s", [-3600.0, 0.0, 3600.0])
def test_the_order_is_that_of_terms_whatever_the_clocks_say(ahead_s: float) -> None:
    journals = a_failover(ahead_s)
    assert gists(journals) == ["a stopped being primary", "b became primary"]
    assert [(node, record["row"]) for node, record in merged(journals)] == [
        ("a", 820), ("a", 915), ("b", 560), ("b", 699), ("b", 625), ("b", 745), ("a", 1064),
    ]  # fmt: skip


def test_each_nodes_own_order_is_kept_even_if_revisions_go_back() -> None:
    restored = Scribe().change(0, "standby", "fenced", 520, revision=900, term=800)
    restored.change(1, "fenced", "starting", 1054, revision=5, term=4).change(2, "starting", "standby", 450, revision=6)
    assert [record["row"] for _, record in merged({"a": restored.records})] == [520, 1054, 450]


# --- what is told ---


def test_how_long_there_was_no_primary_is_told_by_the_two_clocks_or_by_the_last_sign() -> None:
    gained = story.events(a_failover())[-1]
    assert gained.gap_s == pytest.approx(8.5)
    only_b = story.events({"b": a_failover()["b"]})[-1]
    assert only_b.gap_s is None
    assert only_b.unheard_s == pytest.approx(10.1 + 0.4)


def test_a_restart_in_place_is_one_change() -> None:
    a = Scribe().change(0, "promoting", "primary", 745)
    a.change(60, "primary", "promoting", 836, "PostgreSQL has crashed").change(61, "promoting", "primary", 745)
    assert gists({"a": a.records}) == ["a became primary", "a is primary again"]


def test_an_agent_that_resumes_its_lease_is_told_apart_from_a_promotion() -> None:
    a = Scribe().change(0, "promoting", "primary", 745)
    a.note("began", 5, agent="0.1.0").note("act", 5.1, row=1010, why="its lease is gone on with", to="fenced")
    a.change(5.2, "fenced", "primary", 1012, "the running primary goes on")
    assert gists({"a": a.records})[1:] == ["a went on as primary under a new agent"]


def test_a_primary_whose_agent_vanished_is_accounted_for_by_the_next_agent() -> None:
    fired = {"guard": {"alive": True, "fired": {"processes": 9, "took_ms": 41.5, "reason": "the permit ended"}}}
    a = Scribe().change(0, "promoting", "primary", 745).note("began", 60, agent="0.1.0")
    a.change(60.1, "fenced", "starting", 1054, "nobody leads", known=fired)
    text = a_world({"a": a.records}).run("why").output
    assert "a was found to be no primary any more by its new agent" in text
    assert "its agent (version 0.1.0) began; the one before had ended without a word" in text
    assert "the guard had ended 9 processes of PostgreSQL in 41.5 ms" in text


def test_a_promotion_that_is_given_up_is_told() -> None:
    b = Scribe().change(0, "standby", "candidate", 560).change(1, "candidate", "promoting", 625)
    b.change(2, "promoting", "demoting", 748, "no guard could be armed")
    assert gists({"b": b.records}) == ["b gave its promotion up"]


def test_standbys_that_come_and_go_are_told_of_their_node_only() -> None:
    c = Scribe().change(0, "cloning", "starting", 340).change(1, "starting", "standby", 450)
    c.change(50, "standby", "candidate", 560).change(50.1, "candidate", "standby", 690)
    c.change(60, "standby", "fenced", 520, "PostgreSQL has ended")
    c.change(70, "fenced", "failed", 1062, "this history has parted")
    assert gists({"c": c.records}) == ["c needs an operator"]
    rows = json.loads(a_world({"c": c.records}).run("why", "c", "-f", "json").stdout)
    assert [row["Event"] for row in rows] == ["became a standby", "took its PostgreSQL down", "needs an operator"]


def test_a_standby_that_may_not_lead_is_told_while_nobody_leads_for_long() -> None:
    b = Scribe().note("wait", 0, row=565, to="standby", why="the leader key is free, but b is 3000000 bytes behind")
    b.note("wait", 1, row=565, to="standby", why="the same again")
    assert gists({"b": b.records}) == ["b stood by while nobody led"]
    soon = Scribe().change(10, "standby", "candidate", 560).change(11, "candidate", "primary", 610)
    assert gists({"b": b.records, "c": soon.records}) == ["c became primary"]
    silent = Scribe().note("wait", 0, row=550, to="standby", known={"dcs": {"silent_s": 1.0}})
    assert gists({"b": silent.records}) == []


# --- who asked ---


def test_a_request_made_to_another_node_is_found_by_what_it_asked() -> None:
    journals = a_failover()
    asked = {"leader": "a", "candidate": "b"}
    for record in journals["a"][:1] + journals["b"][1:2]:
        record["known"] = record["known"] | {"dcs": {"failover": {"from": "a", "to": "b"}}}
    other = {"id": 2, "kind": "switchover", "origin": "eve@10.0.0.8", "asked": {"leader": "a", "candidate": "c"}}
    request = {"id": 3, "kind": "switchover", "origin": "ann@10.0.0.9", "asked": asked}
    journals["c"] = Scribe().note("request", -1, request=request, revision=100, term=100).records
    journals["c"] += Scribe().note("request", 0, request=other, revision=100, term=100).records
    told = story.of_the_cluster(story.events(journals))
    expected = "ann@10.0.0.9, switchover (leader a, candidate b), request 3 to c"
    assert [changes.asked_by(one.asked or {}) for one in told] == [expected, expected]


def test_a_request_that_no_journal_knows_is_told_as_such() -> None:
    journals = a_failover()
    journals["a"][0]["known"] = {"dcs": {"failover": {"from": "a", "to": "b"}}}
    assert "(from a, to b), by a request that no journal tells of" in a_world(journals).run("why").output


def test_nobody_asked_for_a_failover() -> None:
    assert "asked by" not in a_world(a_failover()).run("why").output


# --- what is printed ---


def test_why_in_plain_words() -> None:
    result = a_world({**a_failover(), "c": []}).run("why")
    assert result.exit_code == 0
    first = BEGINNING.astimezone().isoformat(" ", "milliseconds")
    second = (BEGINNING + timedelta(seconds=8.5)).astimezone().isoformat(" ", "milliseconds")
    assert result.output == (
        "The last 2 changes of role in cluster demo, oldest first; each time by its node's own clock.\n\n"
        f"{first}  a stopped being primary\n"
        "    why       the lease could not be renewed [row 820]\n"
        "    known     etcd had not answered for 6.0 s (no endpoint answered)\n"
        "              its permit ran for 1.5 s more\n"
        "    before    primary for 60.0 s\n\n"
        f"{second}  b became primary\n"
        "    why       +0.00 s  the leader key is free [row 560]\n"
        "              +0.10 s  it campaigns [row 699]\n"
        "              +0.20 s  the leader key was won [row 625]\n"
        "              +0.50 s  PostgreSQL accepts writes [row 745]\n"
        "    known     there was no leader key\n"
        "              a did not answer (no answer within 0.5 s)\n"
        "    before    standby for 60.0 s\n"
        "    gap       8.5 s without a primary, by the clocks of the nodes concerned\n"
    )


def test_what_failed_is_told_with_what_was_not_tried_then() -> None:
    journals = a_failover()
    journals["a"][0] |= {
        "outcomes": [{"action": "StopPostgres"}, {"action": "Resign", "failure": "unknown", "detail": "no answer"}],
        "not_done": ["Callback"],
    }
    output = a_world(journals).run("why").output
    assert "failed    Resign unknown: no answer; not tried after that: Callback\n" in output


def test_formats_for_scripts() -> None:
    world = a_world(a_failover())
    rows = json.loads(world.run("why", "-f", "json").stdout)
    assert [(row["Node"], row["Event"], row["Term"], row["Row"]) for row in rows] == [
        ("a", "stopped being primary", 100, 820),
        ("b", "became primary", 130, 745),
    ]
    assert rows[1]["Without primary"] == 8.5
    assert [step["row"] for step in rows[1]["Steps"]] == [560, 699, 625, 745]
    shorter = [{key: value for key, value in row.items() if key != "Steps"} for row in rows]
    assert yaml.safe_load(world.run("why", "-f", "yaml").stdout) == shorter
    lines = world.run("why", "-f", "tsv").stdout.splitlines()
    assert lines[0].split("\t") == list(changes.KEYS)
    assert len(lines) == 3
    assert {len(line.split("\t")) for line in lines} == {len(changes.KEYS)}


def test_the_last_n_are_the_newest() -> None:
    assert "b became primary" in a_world(a_failover()).run("why", "--last", "1").output
    assert "a stopped" not in a_world(a_failover()).run("why", "--last", "1").output
    assert a_world(a_failover()).run("why", "--last", "0").exit_code == 2


def test_nodes_that_told_nothing_are_named() -> None:
    world = a_world(a_failover(), status={host_of("c"): standby_status()})
    result = world.run("why")
    assert result.exit_code == 0
    assert "Not heard: c: its agent keeps no journal (HTTP 503); a Patroni member does not" in result.stderr
    world.agents.down.add(host_of("a"))
    result = world.run("why")
    assert "Not heard: a: no answer: GET /haagent/journal?limit=1000 at http://10.0.0.1:8008" in result.stderr
    assert "b became primary" in result.stdout


def test_when_nobody_tells_anything_it_fails() -> None:
    world = a_world({})
    world.agents.down.update(map(host_of, "abc"))
    result = world.run("why")
    assert result.exit_code == 1
    assert "no agent told its journal" in result.output


def test_a_node_that_is_none_or_does_not_answer_is_refused_with_the_reason() -> None:
    world = a_world(a_failover())
    assert "z is no member; those that answered: a, b" in world.run("why", "z").output
    world.agents.down.add(host_of("b"))
    result = world.run("why", "b")
    assert result.exit_code == 1
    assert "b: no answer" in result.output


def test_an_empty_journal_says_so() -> None:
    assert "tell of no change of role in cluster demo" in a_world({"a": []}).run("why").output


def test_another_cluster_can_be_named() -> None:
    world = a_world(a_failover())
    assert "in cluster other" in world.run("why", "--cluster", "other").output
    assert world.opened[-1][1] == "other"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (119.9, "119.9 s"), (150, "2 min"), (3700, "1 h 1 min"), (270000, "3 d 3 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# --- whatever agents may tell ---

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KINDS = st.sampled_from(["change", "act", "wait", "began", "request", "outcome"])
_STATES = st.sampled_from(["primary", "standby", "candidate", "promoting", "fenced", "failed"])
_PARTS = ["dcs", "lease", "guard", "postgres", "peers", "sync", "leader", "failover", "fired", "job", "divergence"]
_PARTS += ["failsafe", "against"]
_FACTS = ["replies", "standbys", "silent_s", "heartbeat_s", "permit_s", "failed_before", "lsn", "in_recovery", "error"]
_FACTS += ["promised_to", "promised_s", "consent"]
_NAMES = st.sampled_from(_PARTS + _FACTS)
_KNOWN = st.dictionaries(_NAMES, _JSON | st.dictionaries(_NAMES, _JSON, max_size=4), max_size=5)
_RECORDS = st.lists(
    st.fixed_dictionaries(
        {"kind": _KINDS | _JSON, "from": _STATES | _JSON, "to": _STATES | _JSON, "known": _KNOWN | _JSON},
        optional=dict.fromkeys(("at", "row", "why", "term", "revision", "ordered", "outcomes", "not_done"), _JSON)
        | {"request": _JSON, "lasted_s": _JSON, "repeated": _JSON},
    ),
    max_size=6,
)


@given(_RECORDS, _KNOWN)
def test_no_record_whatever_it_holds_breaks_the_telling(records: list[Record], known: dict[str, Any]) -> None:
    told = story.events({"a": records})
    for form in ("table", "json", "yaml", "tsv"):
        assert isinstance(changes.rendered(told, "demo", None, form), str)
    assert all(isinstance(text, str) for text in knew(known))
