"""Why leadership changed, told by real agents from the journals on their disks."""

from __future__ import annotations

import json
import stat
from typing import Any

from tests.integration.test_ctl import ctl
from tests.real.cluster import Cluster
from tests.real.settings import PASSWORD
from tests.real.waiting import wait_until


def story(cluster: Cluster) -> list[dict[str, Any]]:
    """The last changes of role, as ``haagent-ctl why`` tells them."""
    printed = ctl(cluster, "why", "-f", "json").splitlines()
    found = json.loads(printed[0])
    assert isinstance(found, list)
    return found


def test_a_switchover_and_a_failover_are_explained_also_by_agents_that_started_later(cluster: Cluster) -> None:
    old, new = cluster.primary(), cluster.standbys()[0]
    ctl(cluster, "switchover", "--leader", old.name, "--candidate", new.name, "--force")
    cluster.wait_whole()
    lost, gained = story(cluster)[-2:]
    assert (lost["Node"], lost["Event"]) == (old.name, "stopped being primary")
    assert (gained["Node"], gained["Event"]) == (new.name, "became primary")
    assert f"switchover (leader {old.name}, candidate {new.name})" in gained["Asked by"]

    new.power_off()
    third = cluster.primary(other_than=new)
    new.power_on()
    cluster.mend()
    cluster.wait_whole()
    told = story(cluster)[-2:]
    assert {(one["Node"], one["Event"]) for one in told} == {
        (third.name, "became primary"),
        (new.name, "was found to be no primary any more by its new agent"),
    }
    assert "s after the last sign of the former primary" in ctl(cluster, "why", third.name, "--last", "1")

    def explained() -> bool:
        text = ctl(cluster, "explain", new.name)
        return f"{new.name}: standby" in text and "may it lead   yes" in text

    wait_until(explained, "a standby that may lead", 15)


def test_the_journal_is_for_its_owner_and_holds_no_secret(cluster: Cluster) -> None:
    for node in cluster.nodes:
        file = node.place.directory / "data.haagent" / "journal.jsonl"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        text = file.read_text()
        whole = text[: text.rindex("\n")]  # the agent may be writing the next line
        records = [json.loads(line) for line in whole.splitlines() if line]
        assert any(record["kind"] == "change" and record["why"] for record in records)
        assert PASSWORD not in text
        assert len(node.rest("GET", "/haagent/journal?limit=3").json) == 3
