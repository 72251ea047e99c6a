"""Spans of time as operators and PostgreSQL write them."""

from __future__ import annotations

import re

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*([a-z]*)", re.ASCII)


def parse_seconds(value: object) -> float:
    """Seconds of a number or a text such as ``30``, ``30s`` or ``2min`` (PostgreSQL's units); ValueError otherwise."""
    found = None if isinstance(value, bool) else _SPAN.fullmatch(str(value).strip())
    if found is None or found[2] not in {"", *_UNITS_S}:
        raise ValueError(f"{str(value)[:40]!r} is no span of time; expected seconds, or a unit too, such as 30s")
    return float(found[1]) * _UNITS_S[found[2] or "s"]
