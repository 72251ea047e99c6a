"""What a handler does besides its call of a port."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import AsyncMock, Mock

from haagent.agent.perform import Hands, Performer, Ports
from haagent.core.actions import Depose
from haagent.core.terms import Revision, Term
from tests.builders import a_node


def a_performer(**ports: Any) -> Performer:
    given = {name: Mock() for name in ("dcs", "postgres", "guard", "peers", "clock", "store", "fence")} | ports
    return Performer(a_node(), Ports(**given), cast(Hands, Mock()))


async def test_no_commit_is_accepted_any_more_under_a_past_term_before_its_key_is_given_up() -> None:
    done: list[str] = []
    fence = Mock(refuse=lambda term: done.append(f"refuse {term}"))
    dcs = Mock(depose=AsyncMock(side_effect=lambda *_: done.append("depose")))
    await a_performer(dcs=dcs, fence=fence).perform([Depose(Revision(9), Term(7))])
    assert done == ["refuse 7", "depose"]


async def test_the_key_of_another_says_nothing_about_this_node_s_commits() -> None:
    fence, dcs = Mock(), Mock(depose=AsyncMock())
    await a_performer(dcs=dcs, fence=fence).perform([Depose(Revision(9))])
    fence.refuse.assert_not_called()
