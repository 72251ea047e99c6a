"""Failsafe mode: who must consent, what a promise binds to, and what decisions follow from both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.agent.journal import decision
from haagent.core import failsafe
from haagent.core.actions import Campaign, PutFailsafe, RememberFailsafe
from haagent.core.advice import advice
from haagent.core.answers import failsafe as document
from haagent.core.conditions import eligible, upstream, vacancy, why_not_me
from haagent.core.decide import check, decide
from haagent.core.facts import (
    Asked,
    ClusterFacts,
    Consent,
    FailsafeFacts,
    Failure,
    Grounds,
    Heartbeat,
    KnownMembers,
    Outcome,
    Promise,
    SlotFacts,
    View,
)
from haagent.core.lease import DRIFT, timing
from haagent.core.states import State
from haagent.core.status import cluster_unlocked, status
from haagent.core.terms import Instant, Lsn, Revision, Term, later
from haagent.ctl.words import knew
from tests.builders import (
    LSN,
    NOW,
    TERM,
    a_cluster,
    a_guard,
    a_lease,
    a_member,
    a_memory,
    a_poll,
    a_primary,
    a_primary_view,
    a_reply,
    a_silent_dcs,
    a_standby,
    a_view,
    some_settings,
    stopped,
)

ON = some_settings(failsafe_mode=True)
URLS = {name: f"http://10.0.0.{number}:8008/patroni" for number, name in enumerate("abc", 1)}
FAR = later(NOW, 9.0)


def named(*names: str, **changes: Any) -> ClusterFacts:
    """The cluster with a failsafe key that names these."""
    return a_cluster(failsafe={name: URLS[name] for name in names}, failsafe_revision=Revision(50), **changes)


def just(*names: str) -> ClusterFacts:
    """A cluster of these, and a failsafe key that says so."""
    urls = {name: URLS[name] for name in names}
    return a_cluster(*map(a_member, names), failsafe=urls, failsafe_revision=Revision(50))


def request(**changes: Any) -> dict[str, Any]:
    """What the primary ``a`` posts to ``b``."""
    own = {"scope": "demo", "term": int(TERM), "ttl": 10.0, "to": "b"}
    body = {"name": "a", "conn_url": "postgres://10.0.0.1:5432/postgres", "api_url": URLS["a"], "slots": {"b": 5}}
    return {**body, "haagent": own} | changes


def replica(**changes: Any) -> View:
    """``b``, for which etcd is silent, with the mode on."""
    return a_view(**{"settings": ON, "cluster": a_silent_dcs(cluster=named("a", "b", "c"))} | changes)


def seen(term: Term) -> ClusterFacts:
    """etcd is silent, and this agent saw the leader key of that term before."""
    beat = Heartbeat(term, Revision(term), NOW, 10.0, "a")
    return a_silent_dcs(cluster=replace(named("a", "b", "c"), heartbeat=beat))


def bound(until: Instant = FAR, name: str = "a", **changes: Any) -> FailsafeFacts:
    """This node has promised ``a`` to wait."""
    promise = Promise(until, 10.1, name, "postgres://10.0.0.1:5432/postgres", TERM)
    return FailsafeFacts(promise=replace(promise, **changes))


def judged(view: View, body: dict[str, Any] | None = None, *, campaigning: bool = False) -> tuple[int, str]:
    found = failsafe.judge(view, request() if body is None else body, campaigning=campaigning)
    assert (found.promise is not None) == (found.status == 200)
    return found.status, found.text


# --- the promise ---


def test_a_promise_outlasts_the_permit_that_is_built_on_it() -> None:
    """Counted from seeing, for the longer ttl of the two nodes and their drift."""
    view = replica()
    given = failsafe.judge(view, request(), campaigning=False)
    assert given.promise is not None
    assert given.promise.until == later(NOW, 10 * 1.01)
    assert given.lsn == LSN
    longer = failsafe.judge(view, request(haagent={"ttl": 30}), campaigning=False)
    assert longer.promise is not None
    assert longer.promise.until == later(NOW, 30 * 1.01)
    assert longer.promise.until - NOW > a_primary_view(settings=some_settings(ttl=30)).timing.fence_after


def test_a_promise_is_never_shortened_by_a_later_one() -> None:
    far = later(NOW, 60)
    again = failsafe.judge(replica(failsafe=bound(far)), request(), campaigning=False)
    assert again.promise is not None
    assert again.promise.until == far


@pytest.mark.parametrize(
    ("view", "status"),
    [
        (a_view(), 502),
        (replica(memory=a_memory(State.PRIMARY), postgres=a_primary()), 500),
        (replica(lease=a_lease()), 500),
        (replica(lease=a_lease(permit_s=-5), postgres=stopped()), 500),
        (replica(postgres=stopped()), 200),
        (replica(cluster=named("a", "b", "c", leader="c")), 503),
        (replica(cluster=named("a", "b", "c", leader=None)), 200),
        (replica(memory=a_memory(led_before=Term(TERM + 1))), 503),
        (replica(memory=a_memory(led_before=Term(TERM + 1)), cluster=seen(TERM)), 200),
        (replica(cluster=seen(Term(TERM + 1))), 503),
    ],
)
def test_who_consents(view: View, status: int) -> None:
    assert judged(view)[0] == status


def test_words_of_the_ecosystem() -> None:
    assert judged(replica()) == (200, "Accepted")
    assert judged(replica(lease=a_lease())) == (500, "Running as a leader")


def test_nobody_consents_while_it_tries_for_the_key_itself() -> None:
    assert judged(replica(), campaigning=True)[0] == 503


def test_a_leader_of_an_older_term_is_told_so() -> None:
    beat = Heartbeat(Term(TERM + 9), Revision(500), NOW, 10, "c")
    newer = replica(cluster=replace(a_silent_dcs(), heartbeat=beat))
    assert judged(newer) == (503, "term 100 is over: this node knows of term 109")
    assert judged(replica(failsafe=bound(term=Term(TERM + 1))))[0] == 503
    assert judged(replica(cluster=a_silent_dcs()))[0] == 200


@pytest.mark.parametrize("own", [{"to": "c", "scope": "demo"}, {"to": "b", "scope": "other"}])
def test_nobody_answers_for_whoever_had_its_address_before(own: dict[str, str]) -> None:
    assert judged(replica(), request(haagent=own))[0] == 503


def test_a_patroni_leader_tells_neither_term_nor_address() -> None:
    body = request()
    del body["haagent"]
    assert judged(replica(), body) == (200, "Accepted")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": 7},
        {"conn_url": None},
        {"api_url": []},
        {"slots": [1]},
        {"slots": {"b": "x"}},
        {"slots": {"b": -1}},
        {"haagent": "x"},
        {"haagent": {"term": "x"}},
        {"haagent": {"ttl": 1e12}},
        {"haagent": {"ttl": float("nan")}},
    ],
)
def test_a_body_that_cannot_be_read_is_refused(wrong: dict[str, Any]) -> None:
    assert judged(replica(), request(**wrong))[0] == 400


@pytest.mark.parametrize(
    ("kept", "mode", "up_s", "binds_s"),
    [
        (None, False, 5, None),
        (None, True, 500, None),
        (10.1, True, 500, 10.1),
        (10.1, False, 500, 10.1),
        (30.3, True, 5, 30.3),
        (None, True, 5, 5.1),
        ("x", False, 5, None),
        (1e30, False, 5, None),
    ],
)
def test_what_an_agent_that_starts_is_bound_to(kept: object, mode: bool, up_s: float, binds_s: float | None) -> None:
    """Its predecessor's promise once more; and of a machine just started nobody knows what was on its disk."""
    found = failsafe.inherited(kept, 10, mode, Instant(up_s))
    assert (found is None) == (binds_s is None)
    assert found is None or binds_s is None or found.until - up_s == pytest.approx(binds_s)


# --- what follows from it ---


def test_a_promise_keeps_the_key_from_being_taken() -> None:
    free = replica(cluster=named("a", "b", "c", leader=None))
    assert vacancy(free)
    assert eligible(free)
    kept = replace(free, failsafe=bound())
    assert not vacancy(kept)
    assert "a goes on without etcd, and this node promised it to wait for 9.0 s more" in str(why_not_me(kept))
    assert decide(kept).row == 558
    assert vacancy(replace(free, failsafe=bound(NOW)))


def test_a_candidate_that_promised_stands_back() -> None:
    view = replica(
        cluster=named("a", "b", "c", leader=None),
        memory=a_memory(State.CANDIDATE, since=NOW),
        peers=a_poll(a_reply("c")),
        guard=a_guard(),
    )
    assert Campaign(Grounds(failsafe=Revision(50))) in decide(view).actions
    assert decide(replace(view, failsafe=bound())).memory.state is State.STANDBY


def test_a_replica_follows_whom_it_promised_to_wait_for_and_lets_no_slot_lag_behind() -> None:
    slot = SlotFacts("c", "physical", active=False, restart_lsn=Lsn(3))
    view = replica(postgres=a_standby(slots=(slot,)), failsafe=bound(slots={"c": Lsn(9)}))
    source = upstream(view)
    assert source is not None
    assert (source.name, source.host) == ("a", "10.0.0.1")
    plan = decide(view)
    assert plan.row == 548
    orders = {type(action).__name__: action for action in plan.actions}
    assert orders["Configure"].config.upstream == source  # type: ignore[attr-defined]
    assert orders["SyncSlots"].advance == {"c": 9}  # type: ignore[attr-defined]
    assert upstream(replica()) is None


def test_only_whom_the_key_names_may_lead() -> None:
    """Also when the mode was turned off since: its leader may not have heard of that."""
    for chosen in (ON, some_settings()):
        out = replica(settings=chosen, cluster=named("a", "c", leader=None))
        assert "the key failsafe names a, c, not b" in str(why_not_me(out))
        assert not eligible(out)
    assert eligible(replica(cluster=a_cluster(leader=None)))


# --- who must consent ---


def leader(**changes: Any) -> View:
    return a_primary_view(**{"settings": ON, "cluster": named("a", "b", "c")} | changes)


def test_all_others_in_the_key_must_consent() -> None:
    plan = decide(leader())
    assert plan.mandate is not None
    assert plan.mandate.members == {"b": URLS["b"], "c": URLS["c"]}
    assert plan.mandate.body["haagent"] == {"scope": "demo", "term": int(TERM), "ttl": 10}
    assert (plan.mandate.body["name"], plan.mandate.body["slots"]) == ("a", {"a": int(LSN)})


@pytest.mark.parametrize(
    "without",
    [
        {"settings": some_settings()},
        {"cluster": a_cluster()},
        {"settings": some_settings(failsafe_mode=True, pause=True)},
    ],
)
def test_without_mode_or_key_nobody_can_stand_in_for_etcd(without: dict[str, Any]) -> None:
    assert decide(leader(**without)).mandate is None


def test_a_leader_that_stops_asks_nobody() -> None:
    late = leader(lease=a_lease(permit_s=1.0))
    plan = decide(late)
    assert plan.memory.state is State.DEMOTING
    assert plan.mandate is None


def test_a_member_alone_goes_on_by_itself() -> None:
    alone = decide(leader(cluster=just("a"))).mandate
    assert alone is not None
    assert alone.members == {}
    assert Asked(NOW).unanimous


def test_one_answer_too_few_is_no_consent() -> None:
    assert Asked(NOW, (Consent("b", True), Consent("c", True))).unanimous
    assert not Asked(NOW, (Consent("b", True), Consent("c", False))).unanimous


def test_who_may_stand_in_the_key_is_asked_also_before_it_is_sure() -> None:
    """A write whose answer was lost may have let somebody in; one that was voided by a later one did not."""
    before = leader(cluster=a_cluster(failsafe={"a": URLS["a"], "b": URLS["b"]}, failsafe_revision=Revision(50)))
    plan = decide(before)
    both = KnownMembers(Revision(50), URLS)
    assert plan.actions.index(RememberFailsafe(both)) < plan.actions.index(PutFailsafe(TERM, URLS, Revision(50)))
    assert plan.mandate is not None
    assert plan.mandate.members.keys() == {"b", "c"}
    silent = replace(before, memory=plan.memory, cluster=a_silent_dcs(cluster=before.cluster))
    found = decide(silent).mandate
    assert found is not None
    assert found.members.keys() == {"b", "c"}
    settled = a_cluster(failsafe={"a": URLS["a"], "b": URLS["b"]}, failsafe_revision=Revision(51))
    again = failsafe.known(replace(before, memory=plan.memory, cluster=settled))
    assert again is not None
    assert again.members.keys() == {"a", "b"}


def test_what_the_disk_did_not_take_it_is_told_again() -> None:
    settled = leader(memory=decide(leader()).memory)
    failed = Outcome("RememberFailsafe", Failure.REFUSED, "the disk hangs")
    told = [
        any(isinstance(one, RememberFailsafe) for one in decide(v).actions)
        for v in (
            settled,
            replace(settled, outcomes=(failed,)),
            replace(settled, outcomes=(Outcome("RememberFailsafe"),)),
        )
    ]
    assert told == [False, True, False]


def test_those_who_were_asked_must_be_all_who_must_consent_when_they_have_answered() -> None:
    three, two = decide(leader()).mandate, decide(leader(cluster=just("a", "b"))).mandate
    assert three is not None
    assert two is not None
    assert failsafe.still_covers(three, two)
    assert not failsafe.still_covers(two, three)
    assert not failsafe.still_covers(two, None)


def test_nobody_is_let_in_while_the_permit_rests_on_those_inside() -> None:
    vouched = replace(a_lease(), vouched_until=later(NOW, 8))
    joined = leader(lease=vouched, cluster=named("a", "b"))
    plan = decide(joined)
    assert not [action for action in plan.actions if isinstance(action, PutFailsafe)]
    bad = replace(plan, actions=(PutFailsafe(TERM, URLS, Revision(50)),))
    with pytest.raises(AssertionError, match="while the permit rests on them"):
        check(joined, bad)


def test_the_key_goes_with_the_mode() -> None:
    assert PutFailsafe(TERM, None, Revision(50)) in decide(leader(settings=some_settings())).actions
    quiet = decide(leader(settings=some_settings(), cluster=a_cluster())).actions
    assert not [action for action in quiet if isinstance(action, PutFailsafe)]


def test_a_member_that_cannot_be_asked_is_not_let_in() -> None:
    cluster = a_cluster(a_member("a"), a_member("b"), a_member("c", api_url=""), failsafe=None)
    put = [action for action in decide(leader(cluster=cluster)).actions if isinstance(action, PutFailsafe)]
    assert [one.members for one in put] == [{"a": URLS["a"], "b": URLS["b"]}]


def test_a_leader_whose_member_entry_has_run_out_still_names_itself() -> None:
    """Where the sync key names it alone, a key without it would let nobody lead ever again."""
    cluster = a_cluster(a_member("b"), a_member("c"), failsafe=None)
    put = [action for action in decide(leader(cluster=cluster)).actions if isinstance(action, PutFailsafe)]
    assert [one.members for one in put] == [URLS]


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ({"revision": 5, "members": {"a": "u"}}, KnownMembers(Revision(5), {"a": "u"})),
        (None, None),
        ({"revision": "x", "members": {}}, None),
        ({"revision": 5, "members": ["a"]}, None),
    ],
)
def test_what_the_disk_keeps_of_the_key_is_read_leniently(stored: object, found: object) -> None:
    assert failsafe.kept(stored) == found


class Store:
    """The failsafe key in etcd, and a leader's writes to it that may land at any later moment, or never."""

    def __init__(self) -> None:
        self.revision, self.names = 50, frozenset("ab")
        self.under_way: list[tuple[int, frozenset[str]]] = []

    def land(self, number: int) -> None:
        expected, names = self.under_way[number % len(self.under_way)]
        if expected == self.revision:
            self.revision, self.names = self.revision + 1, names

    def seen_with(self, alive: frozenset[str]) -> ClusterFacts:
        urls = {name: URLS[name] for name in sorted(self.names)}
        found = a_cluster(*map(a_member, sorted(alive | {"a"})), failsafe=urls)
        assert found.snapshot is not None
        return replace(found, snapshot=replace(found.snapshot, failsafe_revision=Revision(self.revision)))


STEPS = st.tuples(st.sampled_from(["tick", "land", "restart"]), st.sets(st.sampled_from("bc")), st.integers(0, 9))


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_whoever_may_lead_is_always_among_those_who_are_asked(steps: list[tuple[str, set[str], int]]) -> None:
    """Whatever becomes of the leader's writes, and however often its agent is restarted."""
    store = Store()
    seen = store.seen_with(frozenset("abc"))
    memory, disk = a_memory(State.PRIMARY), None
    for what, alive, number in steps:
        if what == "land" and store.under_way:
            store.land(number)
        elif what == "restart":
            memory = a_memory(State.PRIMARY, failsafe_known=disk)
            seen = store.seen_with(frozenset(alive))
        elif what == "tick":
            if number % 2:
                seen = store.seen_with(frozenset(alive))
            plan = decide(leader(cluster=seen, memory=memory))
            for action in plan.actions:
                if isinstance(action, RememberFailsafe):
                    disk = action.known
                if isinstance(action, PutFailsafe):
                    assert action.members is not None
                    store.under_way.append((int(action.expected), frozenset(action.members)))
            memory = plan.memory
        asked = failsafe.mandate(leader(cluster=seen, memory=memory))
        assert asked is not None
        assert store.names - {"a"} <= asked.members.keys()


@given(
    st.floats(3, 600),
    st.floats(-DRIFT / 2, DRIFT / 2),
    st.floats(-DRIFT / 2, DRIFT / 2),
    st.floats(0, 100),
)
def test_the_permit_ends_before_the_promise(ttl: float, fast: float, faster: float, on_the_way_s: float) -> None:
    """In true time, on two clocks whose rates differ by no more than is promised."""
    permit_s = timing(ttl, 1, 1).fence_after / (1 + fast)
    promise_s = on_the_way_s + failsafe.length(ttl) / (1 + faster)
    assert permit_s < promise_s


# --- while it is at work ---


def going_on(**changes: Any) -> View:
    """``a`` leads by the promises of the others."""
    lease = replace(a_lease(), vouched_until=later(NOW, 8))
    asked = Asked(later(NOW, -1), (Consent("b", True), Consent("c", True)))
    silent = a_silent_dcs(later(NOW, -60), named("a", "b", "c"))
    return leader(**{"lease": lease, "cluster": silent, "failsafe": FailsafeFacts(asked=asked)} | changes)


def test_a_primary_says_by_whose_promises_it_goes_on() -> None:
    plan = decide(going_on())
    assert plan.row == 895
    assert "b, c" in plan.why
    told = status(going_on())
    assert told["failsafe_mode_is_active"] is True
    assert told["haagent"]["failsafe"] == {"asked_s": 1.0, "consent": ["b", "c"], "vouched_s": 8.0}
    assert not cluster_unlocked(going_on())


def test_the_journal_tells_it_with_names_and_numbers() -> None:
    plan = decide(going_on())
    record = decision(going_on(), plan)
    assert record["row"] == 895
    assert record["known"]["failsafe"] == {"asked_s": 1.0, "consent": ["b", "c"], "vouched_s": 8.0}
    waiting = replica(failsafe=bound())
    kept = decision(waiting, decide(waiting))["known"]
    assert kept["failsafe"] == {"promised_to": "a", "promised_s": 9.0}
    assert "it had promised a to wait for 9.0 s more" in knew(kept)
    late = going_on(failsafe=FailsafeFacts(asked=Asked(NOW, (Consent("b", True), Consent("c", False, "no answer")))))
    said = knew(decision(late, decide(late))["known"])
    assert "b consented that it goes on without etcd" in said
    assert "c did not (no answer)" in said


def test_an_operator_is_told_what_lifts_it() -> None:
    out = replica(cluster=named("a", "c", leader=None))
    assert "etcdctl del" in advice(out)
    kept = replica(cluster=named("a", "b", "c", leader=None), failsafe=bound())
    assert "by itself after that time" in advice(kept)


def test_it_stops_in_time_when_one_does_not_consent() -> None:
    last = replace(a_lease(permit_s=1.4), vouched_until=later(NOW, 1.4))
    asked = Asked(later(NOW, -1), (Consent("b", True), Consent("c", False, "no answer within 2.5 s")))
    late = going_on(lease=last, failsafe=FailsafeFacts(asked=asked))
    assert decide(late).row == 820
    assert status(late)["haagent"]["failsafe"]["against"] == {"c": "no answer within 2.5 s"}


def test_a_lost_key_is_taken_again_in_place() -> None:
    lost = replace(a_lease(), lost="the key is gone", vouched_until=later(NOW, 8))
    assert decide(going_on(lease=lost)).row == 812
    back = decide(going_on(lease=lost, cluster=named("a", "b", "c", leader=None)))
    assert back.row == 814
    assert Campaign(Grounds(failsafe=Revision(50))) in back.actions
    other = decide(going_on(lease=lost, cluster=named("a", "b", "c", leader="c")))
    assert other.memory.state is State.DEMOTING
    unvouched = decide(going_on(lease=replace(lost, vouched_until=None)))
    assert unvouched.row == 815


def test_a_replica_tells_whom_it_promised() -> None:
    told = status(replica(failsafe=bound()))
    assert told["failsafe_mode_is_active"] is True
    assert told["haagent"]["failsafe"] == {"promised_to": "a", "promised_s": 9.0}
    inherited = status(replica(failsafe=bound(name="")))
    assert "failsafe_mode_is_active" not in inherited


def test_the_members_are_shown_also_while_etcd_is_silent_from_the_start() -> None:
    known = a_memory(failsafe_known=KnownMembers(Revision(5), URLS))
    blind = a_view(settings=ON, cluster=ClusterFacts(silent_since=NOW), memory=known)
    assert document(blind).body == URLS
