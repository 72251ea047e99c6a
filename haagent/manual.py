"""Renders the table of transitions as a page of the manual: ``python -m haagent.manual``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from haagent.core.states import State
from haagent.core.transitions import TABLE, rows_of

PAGE = Path("docs/reference/transitions.md")

HEAD = """<!-- Rendered from haagent/core/transitions.py by `make generate`; do not edit. -->
# What a node does, by state

Within a state the first row whose conditions all hold is taken; one row a tick. Logs, metrics and `GET /patroni`
cite the row's number. *Renews*: whether the keeper may go on renewing the lease. Only `promoting` and `primary` may be
writable.
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([HEAD, "```mermaid", *_diagram(), "```", *_sections(), ""])


def _diagram() -> Iterator[str]:
    yield "stateDiagram-v2"
    yield "    [*] --> fenced"
    seen = set[tuple[State, State]]()
    for row in TABLE:
        if row.to is not row.state and (row.state, row.to) not in seen:
            seen.add((row.state, row.to))
            yield f"    {row.state.value} --> {row.to.value}"


def _sections() -> Iterator[str]:
    for state in State:
        yield f"\n## {state.value}\n"
        yield "| row | when | to | does | renews | why |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for row in rows_of(state):
            when = ", ".join(_words(condition.__name__) for condition in row.when) or "otherwise"
            to = "" if row.to is row.state else row.to.value
            does = "" if row.do.__name__ == "nothing" else _words(row.do.__name__)
            yield f"| {row.id} | {when} | {to} | {does} | {'yes' if row.hold else 'no'} | {row.why} |"


def _words(name: str) -> str:
    return name.replace("_", " ").strip()


def main() -> None:
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
