"""What is said of conditions: their type, and how they combine."""

from __future__ import annotations

from collections.abc import Callable

from haagent.core.facts import View

Condition = Callable[[View], bool]


def negated(condition: Condition) -> Condition:
    """The opposite, under a name that a reader of the table understands."""

    def opposite(view: View) -> bool:
        return not condition(view)

    opposite.__name__ = f"not {condition.__name__}"
    return opposite
