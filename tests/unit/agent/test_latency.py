"""The histogram of renewals."""

from __future__ import annotations

from haagent.agent.latency import BOUNDS_S, Latency


def test_each_bound_counts_all_that_took_no_longer() -> None:
    latency = Latency()
    for seconds in (0.001, 0.002, 0.003, 0.3, 70.0):
        latency.took(seconds)
    found = dict(latency.buckets())
    assert list(found) == [*BOUNDS_S, float("inf")]
    assert [found[bound] for bound in (0.002, 0.005, 0.25, 0.5, 5.0, float("inf"))] == [2, 3, 3, 4, 4, 5]
    assert round(latency.sum_s, 3) == 70.306
