"""What the guard makes of packets, well-formed or not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.guard import wire
from haagent.guard.watch import Watch

NOTHING = (0, "hello", 0, 0.0, "")


@given(st.integers(1), st.integers(0), st.floats(0, 1e9), st.text(max_size=50))
def test_a_request_arrives_as_it_was_sent(number: int, term: int, until: float, reason: str) -> None:
    packet = wire.request(number, "arm", term, until, reason)
    assert wire.read_request(packet) == (number, "arm", term, until, reason)


@given(st.binary(max_size=200))
def test_no_packet_breaks_the_guard(packet: bytes) -> None:
    assert len(wire.read_request(packet)) == 5


@pytest.mark.parametrize("until", ["NaN", "Infinity", "-1", "1e300", '"soon"', "null"])
def test_a_permit_without_a_real_end_is_no_request(until: str) -> None:
    assert wire.read_request(f'[1, "arm", 7, {until}, ""]'.encode()) == NOTHING


def test_the_answer_is_the_present_state() -> None:
    watch = Watch()
    watch.hear("arm", 7, 12.5)
    answer = json.loads(wire.answer(3, "", watch))
    assert (answer["number"], answer["refused"], answer["term"], answer["until"], answer["fired"]) == (
        3,
        "",
        7,
        12.5,
        None,
    )
    report = wire.report(7, 9, 80.5, "why", "when")
    watch.fenced(report, 13.0)
    answer = json.loads(wire.answer(0, "", watch))
    assert (answer["until"], answer["fired"]) == (None, report)
