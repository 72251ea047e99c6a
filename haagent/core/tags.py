"""Tags as they stand in a member key or in the status JSON, read into ``Tags``; written by agents of any kind."""

from __future__ import annotations

from haagent.core.facts import Document, Tags

_TRUE = frozenset({"true", "on", "yes", "1", "t", "y"})


def read_tags(document: Document) -> Tags:
    """What a node's published tags mean; a value that cannot be read counts as not said."""
    source = document.get("replicatefrom")
    return Tags(
        nofailover=_flag(document, "nofailover"),
        failover_priority=_number(document, "failover_priority"),
        noloadbalance=_flag(document, "noloadbalance"),
        clonefrom=_flag(document, "clonefrom"),
        nosync=_flag(document, "nosync"),
        sync_priority=_number(document, "sync_priority"),
        nostream=_flag(document, "nostream"),
        replicatefrom=source if isinstance(source, str) and source else None,
        published=dict(document),
    )


def _flag(document: Document, name: str) -> bool:
    return str(document.get(name, "")).strip().lower() in _TRUE


def _number(document: Document, name: str) -> int | None:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None
