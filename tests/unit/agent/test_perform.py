"""What a handler does besides its call of a port."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock, Mock

from haagent.agent.perform import Hands, Performer, Ports
from haagent.core.actions import Depose, PutFailsafe, RememberFailsafe, Resign
from haagent.core.facts import Failure, KnownMembers
from haagent.core.terms import Revision, Term
from haagent.ports import Refused
from tests.builders import a_node


def a_performer(hands: Any = None, **ports: Any) -> Performer:
    given = {name: Mock() for name in ("dcs", "postgres", "guard", "peers", "clock", "store", "fence")} | ports
    return Performer(a_node(), Ports(**given), cast(Hands, hands or MagicMock()))


async def test_no_commit_is_accepted_any_more_under_a_past_term_before_its_key_is_given_up() -> None:
    done: list[str] = []
    fence = Mock(refuse=lambda term: done.append(f"refuse {term}"))
    dcs = Mock(depose=AsyncMock(side_effect=lambda *_: done.append("depose")))
    await a_performer(dcs=dcs, fence=fence).perform([Depose(Revision(9), Term(7))])
    assert done == ["refuse 7", "depose"]


async def test_the_next_agent_knows_of_a_term_that_is_being_given_up_before_it_is() -> None:
    done: list[str] = []
    store = Mock(keep=AsyncMock(side_effect=lambda **kept: done.append(f"keep {kept}")))
    keeper = Mock(resign=AsyncMock(side_effect=lambda _: done.append("resign")))
    await a_performer(Mock(keeper=keeper), store=store).perform([Resign(Term(7))])
    assert done == ["keep {'gave_up': 7}", "resign", "keep {'gave_up': None}"]


async def test_the_key_of_another_says_nothing_about_this_node_s_commits() -> None:
    fence, dcs = Mock(), Mock(depose=AsyncMock())
    await a_performer(dcs=dcs, fence=fence).perform([Depose(Revision(9))])
    fence.refuse.assert_not_called()


async def test_the_key_of_a_primary_that_was_promised_to_wait_for_is_not_deleted() -> None:
    """The promise was given after the plan was made, while the guard was waited for."""
    promises, dcs = Mock(campaign=Mock(side_effect=Refused("this node promised to a"))), Mock(depose=AsyncMock())
    (outcome,) = await a_performer(Mock(promises=promises), dcs=dcs).perform([Depose(Revision(9))])
    assert outcome.failure is Failure.REFUSED
    dcs.depose.assert_not_called()


async def test_nobody_is_let_in_whom_a_restarted_agent_would_not_ask() -> None:
    kept, dcs = [False, True], Mock(put_failsafe=AsyncMock())
    store = Mock(keep=AsyncMock(side_effect=lambda **_: kept.pop(0)))
    performer = a_performer(dcs=dcs, store=store)
    known = KnownMembers(Revision(5), {"a": "http://a", "b": "http://b"})
    plan = [RememberFailsafe(known), PutFailsafe(Term(7), known.members, Revision(5))]
    assert [outcome.failure for outcome in await performer.perform(plan)] == [Failure.REFUSED, Failure.REFUSED]
    dcs.put_failsafe.assert_not_called()
    assert [outcome.failure for outcome in await performer.perform(plan)] == [None, None]
    dcs.put_failsafe.assert_called_once()
