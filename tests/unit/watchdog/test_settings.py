"""What timeout a device is given."""

from __future__ import annotations

import pytest

from haagent.ports import Refused
from haagent.watchdog.device import WatchdogSettings


@pytest.mark.parametrize(
    ("ttl", "margin", "timeout_s"),
    [
        (30, 5, 25),
        (10, 5, 5),
        (30, -1, 15),
        (5, 1, 4),
        (7.5, 2, 5),
        (10, 0, 9),
        (10, 1, 9),
        (7.5, 0, 7),
        (6, -1, 3),
    ],
)
def test_the_margin_is_taken_from_the_ttl(ttl: float, margin: int, timeout_s: int) -> None:
    assert WatchdogSettings(safety_margin=margin).timeout_for(ttl) == timeout_s


@pytest.mark.parametrize(("ttl", "margin"), [(5, 5), (5, -1), (3, 1)])
def test_a_timeout_too_short_to_renew_within_is_refused_with_the_numbers(ttl: float, margin: int) -> None:
    with pytest.raises(Refused, match=rf"a ttl of {ttl} s with watchdog.safety_margin {margin} leaves"):
        WatchdogSettings(safety_margin=margin).timeout_for(ttl)


def test_what_half_the_ttl_lacks_no_lower_margin_gives() -> None:
    with pytest.raises(Refused, match=r"raise ttl to 6 s, or set a watchdog\.safety_margin$"):
        WatchdogSettings(safety_margin=-1).timeout_for(5)
