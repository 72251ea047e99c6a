"""What the journals of production agents hold, and what ``haagent-ctl why`` tells from them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import pytest

from haagent.agent.journal import Journal, began
from haagent.agent.loop import Agent
from haagent.agent.perform import Ports
from haagent.core.actions import Plan
from haagent.core.facts import Document, Me, Settings, View
from haagent.host.journal import Recent
from tests.builders import a_snapshot, host_of, members_of
from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import StateChanged
from tests.unit.ctl.world import FakeAgents, FakeDcs, World

NODES = ("a", "b", "c")


class _Sink:
    """Memory that outlives the agent, as the disk does."""

    def __init__(self) -> None:
        self.recent = Recent(most=100_000)

    def add(self, record: Document) -> None:
        self.recent.add(record)

    def records(self) -> list[dict[str, Any]]:
        found = json.loads(self.recent.as_json(100_000))
        assert isinstance(found, list)
        return found


Sinks = Mapping[str, _Sink]


@pytest.fixture
def sinks(monkeypatch: pytest.MonkeyPatch) -> Sinks:
    """The journals of all nodes of a scenario, by name."""
    kept: defaultdict[str, _Sink] = defaultdict(_Sink)
    runs = count(1)

    def journaling(
        me: Me, ports: Ports, settings: Callable[[Document | None], Settings], noted: Callable[[View, Plan], None]
    ) -> Agent:
        run = f"run{next(runs)}"
        journal = Journal(kept[me.name], run, ports.clock.now)
        kept[me.name].add(began(me, run, ports.clock.wall(), ports.clock.now()))

        def both(view: View, plan: Plan) -> None:
            noted(view, plan)
            journal.noted(view, plan)

        return Agent(me, ports, settings, noted=both, done=journal.done)

    monkeypatch.setattr("tests.sim.world.agents.Agent", journaling)
    return kept


def told(sinks: Sinks, *words: str) -> str:
    """What ``haagent-ctl why`` prints of these journals."""
    journals = {host_of(name): sink.records() for name, sink in sinks.items()}
    world = World(FakeDcs(a_snapshot(*members_of(NODES))), FakeAgents(journals=journals))
    result = world.run("why", *words)
    assert result.exit_code == 0, result.output
    return result.output


def events(sinks: Sinks, *words: str) -> list[dict[str, Any]]:
    found = json.loads(told(sinks, "-f", "json", *words))
    assert isinstance(found, list)
    return found


def gists(sinks: Sinks) -> list[str]:
    return [f"{one['Node']} {one['Event']}" for one in events(sinks)]


def test_a_primary_that_lost_its_power_is_accounted_for_by_its_next_agent(sinks: Sinks) -> None:
    names: list[str] = []

    async def script(s: Scene) -> None:
        names.append(s.leader)
        s.do("power off", s.leader, 40)
        await s.wait(60)
        await s.until_whole()
        names.append(s.leader)

    play(script)
    old, new = names
    assert gists(sinks) == [
        f"{old} became primary",
        f"{new} became primary",
        f"{old} was found to be no primary any more by its new agent",
    ]
    _, gained, lost = events(sinks)
    assert 9 < gained["Without primary"] < 12, "a ttl since its last heartbeat, and the promotion"
    assert [step["row"] for step in gained["Steps"]] == [560, 699, 625, 745]
    assert "the last leader's WAL was known to reach" in " ".join(gained["Known"])
    assert gained["Term"] == lost["Term"]
    assert "the one before had ended without a word" in told(sinks)


def test_a_switchover_is_told_with_who_asked_where(sinks: Sinks) -> None:
    names: list[str] = []

    async def script(s: Scene) -> None:
        names[:] = [s.leader, *s.standbys]
        s.do("switchover", names[1], other=names[2])
        await s.wait(20)
        await s.until_whole()

    play(script)
    old, asked_at, new = names
    assert gists(sinks)[1:] == [f"{old} stopped being primary", f"{new} became primary"]
    request = f"operator, switchover (leader {old}, candidate {new}), request 1 to {asked_at}"
    lost, gained = events(sinks)[1:]
    assert (lost["Asked by"], gained["Asked by"]) == (request, request)
    assert lost["Row"] == 880
    assert 0 < gained["Without primary"] < 2


def test_a_restart_in_place_is_told_as_such(sinks: Sinks) -> None:
    names: list[str] = []

    async def script(s: Scene) -> None:
        names.append(s.leader)
        s.do("kill postmaster", s.leader)
        await s.wait(20)
        await s.until_whole()

    play(script)
    assert gists(sinks)[1:] == [f"{names[0]} is primary again"]
    (again,) = events(sinks)[1:]
    assert next(step["row"] for step in again["Steps"]) == 836
    assert "PostgreSQL has crashed: it is started again in place" in told(sinks)


def test_a_primary_cut_off_from_etcd_says_so_before_its_permit_ends(sinks: Sinks) -> None:
    names: list[str] = []

    async def script(s: Scene) -> None:
        names.append(s.leader)
        s.do("isolate", s.leader, 30)
        await s.wait(60)
        await s.until_whole()

    play(script)
    lost, gained = events(sinks)[1:]
    assert (lost["Node"], lost["Event"], lost["Row"]) == (names[0], "stopped being primary", 820)
    assert any(text.startswith("etcd had not answered for") for text in lost["Known"])
    assert any(text.startswith("its permit ran for") for text in lost["Known"])
    assert gained["Event"] == "became primary"
    assert gained["Term"] > lost["Term"]


def test_every_change_of_state_is_in_a_journal_with_its_row(sinks: Sinks) -> None:
    """However much happens at once: nothing is thinned out of what decides over who writes."""
    changed: list[tuple[str, str, str, int]] = []

    async def script(s: Scene) -> None:
        for kind, seconds in (("freeze agent", 15.0), ("kill postmaster", 0.0), ("isolate", 20.0), ("restart", 0.0)):
            s.do(kind, s.leader, seconds)
            await s.wait(25)
            await s.until_whole()
        changed.extend((e.where, e.old, e.new, e.row) for e in s.events if isinstance(e, StateChanged))

    play(script)
    written = [
        (name, record["from"], record["to"], record["row"])
        for name, sink in sinks.items()
        for record in sink.records()
        if record["kind"] == "change"
    ]
    assert sorted(written) == sorted(changed)
    records = [record for sink in sinks.values() for record in sink.records()]
    assert all(record["why"] for record in records if record["kind"] == "change")
    done = [record for record in records if record["kind"] == "change" and record["ordered"]]
    assert all("outcomes" in record for record in done if record["ordered"] != ["Exit"])
    assert max(len(json.dumps(record)) for record in records) < 4096
