"""Tags as other agents publish them."""

from __future__ import annotations

from haagent.core.tags import read_tags


def test_booleans_and_numbers_may_arrive_as_text() -> None:
    tags = read_tags({"nofailover": "true", "clonefrom": True, "nosync": "0", "failover_priority": "2", "zone": "x"})
    assert (tags.nofailover, tags.clonefrom, tags.nosync, tags.failover_priority) == (True, True, False, 2)
    assert tags.published["zone"] == "x"


def test_what_cannot_be_read_counts_as_not_said() -> None:
    tags = read_tags({"nofailover": None, "failover_priority": "high", "sync_priority": True, "replicatefrom": 7})
    assert tags.may_lead
    assert (tags.failover_priority, tags.sync_priority, tags.replicatefrom) == (None, None, None)


def test_priority_zero_forbids_to_lead() -> None:
    assert not read_tags({"failover_priority": 0}).may_lead
