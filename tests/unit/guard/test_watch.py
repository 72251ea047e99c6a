"""The guard's deadline machine, against drawn histories and by example."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from haagent.guard import wire
from haagent.guard.watch import END, FENCE, IDLE_S, SWEEP, SWEEP_S, WAIT, Watch

REPORT = wire.report(7, 12, 80.0, "the permit of term 7 ended 1 ms ago", "2026-01-01T00:00:00Z")


@dataclass(frozen=True)
class Telling:
    after: float
    do: str
    term: int
    ahead: float
    """The permit's end, counted from the moment of telling; may lie in the past."""


TELLINGS = st.builds(
    Telling,
    after=st.floats(0, 5),
    do=st.sampled_from(["arm", "arm", "extend", "extend", "disarm", "clear", "kill", "hello"]),
    term=st.integers(1, 3),
    ahead=st.floats(-1, 10),
)


@given(st.lists(TELLINGS, max_size=40))
def test_every_history_keeps_the_laws(history: list[Telling]) -> None:
    watch, now = Watch(), 100.0
    for telling in history:
        now += telling.after
        term, until, fired = watch.term, watch.until, watch.fired
        refused = watch.hear(telling.do, telling.term, now + telling.ahead, "told")
        if refused:
            assert (watch.term, watch.until, watch.fired) == (term, until, fired), "what is refused changes nothing"
        assert until is None or watch.term >= term, "the term never goes back while a permit is in force"
        if until is not None and watch.until is not None and watch.term == term:
            assert watch.until >= until, "within a term the permit never moves back"
        if telling.do == "extend" and until is None:
            assert watch.until is None, "extend never arms"
        if watch.fired:
            assert watch.until is None, "who fired holds no permit"
        over = watch.until is not None and now >= watch.until
        do, wake_at, why = watch.judge(now, agents=1)
        assert (do == FENCE) == (over or telling.do == "kill"), "never early, always when woken at the end"
        if do == FENCE:
            assert why
            watch.fenced(REPORT, now)
        elif watch.until is not None:
            assert wake_at == watch.until, "it is woken at the permit's end"


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_it_fires_from_the_very_end_on(until: float, late: float) -> None:
    watch = Watch()
    assert watch.hear("arm", 1, until) == ""
    assert watch.judge(until + late, 0)[0] == FENCE


def test_an_older_term_is_refused_with_both_numbers() -> None:
    watch = Watch()
    watch.hear("arm", 7, 10.0)
    assert watch.hear("extend", 6, 99.0) == "term 6 is older than term 7"
    assert watch.hear("arm", 6, 99.0) == "term 6 is older than term 7"
    assert watch.hear("disarm", 6) == "term 6 is older than term 7"
    assert watch.until == 10.0


def test_without_a_permit_in_force_a_term_may_be_older() -> None:
    """An etcd that was built anew counts its revisions, hence the terms, from the beginning."""
    watch = Watch()
    watch.hear("arm", 50_000, 10.0)
    watch.hear("disarm", 50_000)
    assert watch.hear("extend", 12, 20.0) == "term 12 is not armed"
    assert watch.hear("arm", 12, 20.0) == ""
    assert (watch.term, watch.until) == (12, 20.0)


def test_a_newer_term_brings_its_own_end_even_an_earlier_one() -> None:
    # After the ttl was lowered the new leadership ends sooner; holding on to the old end would outlive the lease.
    watch = Watch()
    watch.hear("arm", 7, 30.0)
    assert watch.hear("arm", 8, 5.0) == ""
    assert watch.until == 5.0


def test_an_extension_of_a_term_that_was_never_armed_is_refused() -> None:
    watch = Watch()
    watch.hear("arm", 7, 10.0)
    assert watch.hear("extend", 8, 99.0) == "term 8 is not armed"
    watch.hear("disarm", 7)
    assert watch.hear("extend", 7, 99.0) == "term 7 is not armed"
    assert watch.judge(100.0, 1)[0] == WAIT


def test_fired_it_sweeps_and_takes_no_permit_until_cleared() -> None:
    watch = Watch()
    watch.hear("arm", 7, 10.0)
    watch.judge(10.0, 1)
    watch.fenced(REPORT, 10.1)
    assert "only a start as standby clears that" in watch.hear("arm", 8, 99.0)
    assert watch.judge(10.2, 1) == (WAIT, 10.1 + SWEEP_S, "")
    assert watch.judge(10.1 + SWEEP_S, 1)[0] == SWEEP
    assert watch.judge(10.2 + SWEEP_S, 1)[0] == WAIT
    watch.hear("clear")
    assert watch.hear("arm", 8, 99.0) == ""
    assert watch.judge(20.0, 1) == (WAIT, 99.0, "")


def test_a_marker_left_behind_outweighs_the_permit_it_is_started_with() -> None:
    watch = Watch(term=8, until=50.0, fired=REPORT)
    assert watch.until is None
    assert watch.judge(1.0, 0)[0] == SWEEP


def test_alone_and_with_nothing_to_enforce_it_ends_itself() -> None:
    watch = Watch()
    assert watch.judge(1.0, 0) == (WAIT, 1.0 + IDLE_S, "")
    assert watch.judge(30.0, 1) == (WAIT, None, "")
    assert watch.judge(70.0, 0) == (WAIT, 70.0 + IDLE_S, "")
    assert watch.judge(70.0 + IDLE_S, 0)[0] == END


def test_with_a_permit_or_a_report_it_never_leaves() -> None:
    armed = Watch(term=1, until=1000.0)
    assert armed.judge(0.0, 0)[0] == WAIT
    assert armed.judge(999.0, 0)[0] == WAIT
    fired = Watch(fired=REPORT)
    fired.judge(0.0, 0)
    assert fired.judge(1000.0, 0)[0] == SWEEP
