"""What the looking commands print, to the letter: scripts and habits rely on it."""

from __future__ import annotations

import json
from dataclasses import replace
from textwrap import dedent

import pytest
import yaml

from haagent import __version__
from haagent.core.facts import ConfigKey, FailoverKey, HistoryLine, Status, SyncKey
from haagent.core.terms import Lsn, Revision, Timeline
from tests.builders import LSN, a_member, a_snapshot
from tests.unit.ctl.world import FakeDcs, World, primary_status, standby_status


def text(*rows: str) -> str:
    return "\n".join(rows) + "\n"


def a_mixed_world() -> World:
    """A leader, a lagging sync standby that waits for a restart, a cascaded one with tags, and a stopped one."""
    snapshot = a_snapshot(
        a_member("a", timeline=3),
        a_member(
            "b",
            timeline=3,
            lsn=Lsn(LSN - 100),
            replay_lsn=Lsn(LSN - 3_000_000),
            pending_restart={"max_connections": {"old_value": "100", "new_value": "200"}},
        ),
        a_member("c", timeline=3, tags={"nofailover": True, "replicatefrom": "b"}),
        a_member("d", state="stopped", timeline=3, replication_state=None),
        config=ConfigKey(Revision(3), {"synchronous_mode": True}),
        sync=SyncKey(Revision(4), "a", 0, ("b",)),
    )
    stopped = replace(snapshot.members[3], timeline=None, lsn=None, receive_lsn=None, replay_lsn=None)
    return World(dcs=FakeDcs(replace(snapshot, members=(*snapshot.members[:3], stopped))))


def test_list_as_a_table() -> None:
    output = a_mixed_world().run("list").output
    found = [line.rstrip() for line in output.splitlines()]
    assert found[0].startswith("+ Cluster: demo (7268616322854375442) -")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in found if line.startswith("|")]
    assert cells == [
        ["Member", "Host", "Role", "State", "TL", "Receive LSN", "Receive Lag", "Replay LSN", "Replay Lag",
         "Pending restart", "Pending restart reason", "Tags"],
        ["a", "10.0.0.1", "Leader", "running", "3", "", "", "", "", "", "", ""],
        ["b", "10.0.0.2", "Sync Standby", "streaming", "3", "0/4FFFF9C", "0", "0/4D23940", "3", "*",
         "max_connections: 100->200", ""],
        ["c", "10.0.0.3", "Replica", "streaming", "3", "0/5000000", "0", "0/5000000", "0", "", "",
         "{nofailover: true, replicatefrom: b}"],
        ["d", "10.0.0.4", "Replica", "stopped", "", "unknown", "", "unknown", "", "", "", ""],
    ]  # fmt: skip
    assert len({len(line) for line in found}) == 1, "all lines of a table are equally long"


def test_a_table_to_the_letter() -> None:
    assert World().run("list").output == text(
        "+ Cluster: demo (7268616322854375442) ----+----+-------------+-------------+------------+------------+",
        "| Member | Host     | Role    | State     | TL | Receive LSN | Receive Lag | Replay LSN | Replay Lag |",
        "+--------+----------+---------+-----------+----+-------------+-------------+------------+------------+",
        "| a      | 10.0.0.1 | Leader  | running   |  1 |             |             |            |            |",
        "| b      | 10.0.0.2 | Replica | streaming |  1 |   0/5000000 |           0 |  0/5000000 |          0 |",
        "| c      | 10.0.0.3 | Replica | streaming |  1 |   0/5000000 |           0 |  0/5000000 |          0 |",
        "+--------+----------+---------+-----------+----+-------------+-------------+------------+------------+",
    )


def test_topology_as_a_table_draws_the_tree() -> None:
    output = a_mixed_world().run("topology").output
    names = [line.split("|")[1].rstrip() for line in output.splitlines() if line.startswith("|")]
    assert names == [" Member", " a", " + b", "   + c", " + d"]


MIXED_JSON = [
    {"Cluster": "demo", "Member": "a", "Host": "10.0.0.1", "Role": "Leader", "State": "running", "TL": 3},
    {
        "Cluster": "demo",
        "Member": "b",
        "Host": "10.0.0.2",
        "Role": "Sync Standby",
        "State": "streaming",
        "TL": 3,
        "Receive LSN": "0/4FFFF9C",
        "Receive Lag": 0,
        "Replay LSN": "0/4D23940",
        "Replay Lag": 3,
        "Pending restart": "*",
        "Pending restart reason": "max_connections: 100->200",
    },
    {
        "Cluster": "demo",
        "Member": "c",
        "Host": "10.0.0.3",
        "Role": "Replica",
        "State": "streaming",
        "TL": 3,
        "Receive LSN": "0/5000000",
        "Receive Lag": 0,
        "Replay LSN": "0/5000000",
        "Replay Lag": 0,
        "Tags": {"nofailover": True, "replicatefrom": "b"},
    },
    {
        "Cluster": "demo",
        "Member": "d",
        "Host": "10.0.0.4",
        "Role": "Replica",
        "State": "stopped",
        "Receive LSN": "unknown",
        "Replay LSN": "unknown",
    },
]


def test_list_as_json_and_yaml() -> None:
    world = a_mixed_world()
    assert json.loads(world.run("list", "-f", "json").output) == MIXED_JSON
    assert list(json.loads(world.run("list", "-f", "json").output)[1])[:5] == [
        "Cluster",
        "Member",
        "Host",
        "Role",
        "State",
    ]
    assert yaml.safe_load(world.run("list", "-f", "yml").output) == MIXED_JSON
    assert world.run("list", "-f", "yaml").output.startswith("- Cluster: demo\n  Host: 10.0.0.1\n  Member: a\n")


def test_list_as_tsv() -> None:
    assert a_mixed_world().run("list", "-f", "tsv").output == text(
        "Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag\tPending restart\t"
        "Pending restart reason\tTags",
        "demo\ta\t10.0.0.1\tLeader\trunning\t3\t\t\t\t\t\t\t",
        "demo\tb\t10.0.0.2\tSync Standby\tstreaming\t3\t0/4FFFF9C\t0\t0/4D23940\t3\t*\tmax_connections: 100->200\t",
        "demo\tc\t10.0.0.3\tReplica\tstreaming\t3\t0/5000000\t0\t0/5000000\t0\t\t\t"
        "{nofailover: true, replicatefrom: b}",
        "demo\td\t10.0.0.4\tReplica\tstopped\t\tunknown\t\tunknown\t\t\t\t",
    )


def test_topology_for_scripts_names_the_upstream() -> None:
    world = a_mixed_world()
    found = json.loads(world.run("topology", "-f", "json").output)
    assert [(row["Member"], row.get("Upstream")) for row in found] == [("a", None), ("b", "a"), ("c", "b"), ("d", "a")]
    assert yaml.safe_load(world.run("topology", "-f", "yaml").output) == found
    tsv = [line.split("\t") for line in world.run("topology", "-f", "tsv").output.splitlines()]
    assert [line[tsv[0].index("Upstream")] for line in tsv[1:]] == ["", "a", "b", "a"]


def test_extended_shows_empty_columns_too() -> None:
    header = World().run("list", "-e", "-f", "tsv").output.splitlines()[0]
    assert header.endswith("\tPending restart\tPending restart reason\tScheduled restart\tTags")


def test_ports_are_shown_when_hosts_alone_do_not_tell() -> None:
    world = World()
    world.change_member("c", conn_url="postgres://10.0.0.2:5433/postgres")
    assert [row["Host"] for row in json.loads(world.run("list", "-f", "json").output)] == [
        "10.0.0.1:5432",
        "10.0.0.2:5432",
        "10.0.0.2:5433",
    ]


def test_quorum_and_standby_leader_roles() -> None:
    world = World()
    world.change(
        config=ConfigKey(Revision(3), {"synchronous_mode": "quorum"}), sync=SyncKey(Revision(4), "a", 1, ("b",))
    )
    world.change_member("a", role="standby_leader")
    roles = [row["Role"] for row in json.loads(world.run("list", "-f", "json").output)]
    assert roles == ["Standby Leader", "Quorum Standby", "Replica"]


def test_sync_names_are_not_shown_when_the_mode_is_off() -> None:
    world = World()
    world.change(sync=SyncKey(Revision(4), "a", 0, ("b",)))
    assert json.loads(world.run("list", "-f", "json").output)[1]["Role"] == "Replica"


def test_footers_tell_of_pause_schedule_and_a_missing_leader() -> None:
    world = World()
    at = "2033-09-12T17:17:00+00:00"
    world.change(
        config=ConfigKey(Revision(3), {"pause": True}),
        failover=FailoverKey(Revision(5), "a", "b", at, 2009812620.0),
        leader=None,
    )
    footers = [line for line in world.run("list").output.splitlines() if line.startswith(" ")]
    assert footers[:4] == [
        " Maintenance mode: on",
        f" Switchover scheduled at: {at}",
        "                    from: a",
        "                      to: b",
    ]
    assert footers[4].startswith(" No member leads: nothing accepts writes.")


def test_the_guards_and_permits_of_those_who_have_them() -> None:
    world = World()
    own = {"state": "cloning", "since_s": 3.0, "why": "no data", "guard": {"alive": False, "armed": False}}
    job = {"kind": "clone", "running_s": 3.1, "percent": 40, "mb_per_s": 55.0, "eta_s": 12.0}
    world.agents.status = {"10.0.0.1": primary_status(), "10.0.0.3": standby_status(haagent=own | {"job": job})}
    footers = [line for line in world.run("list").output.splitlines() if line.startswith(" ")]
    assert footers == [
        " Protection: a guard armed, permit 7.5 s; b unknown, its agent does not answer; c guard ABSENT",
        " c: clone for 3.1 s, 40 % at 55.0 MB/s, done in about 12.0 s",
    ]
    assert "Protection" not in world.run("list", "-f", "tsv").output


@pytest.mark.parametrize(
    ("protection", "guard", "words"),
    [
        (
            ["commit fence", "guard", "watchdog device"],
            True,
            "guard armed, commit fence, watchdog device, permit 7.5 s",
        ),
        (["guard", "watchdog device"], True, "guard armed, watchdog device, permit 7.5 s"),
        (["guard"], True, "guard armed, permit 7.5 s"),
        (["commit fence"], False, "guard ABSENT, commit fence, permit 7.5 s"),
        ([], False, "guard ABSENT, permit 7.5 s"),
        (None, True, "guard armed, permit 7.5 s"),
    ],
)
def test_what_protects_beside_the_guard(protection: list[str] | None, guard: bool, words: str) -> None:
    """The guard's state has a word of its own; an agent may be too old to tell of the others."""
    world = World()
    own = {"state": "primary", "guard": {"alive": guard, "armed": guard}, "permit_s": 7.5}
    own |= {} if protection is None else {"protection": protection}
    world.agents.status = {"10.0.0.1": primary_status(haagent=own), "10.0.0.2": standby_status()}
    [footer] = [line for line in world.run("list").output.splitlines() if line.startswith(" Protection")]
    assert footer == f" Protection: a {words}; b guard ready; c unknown, its agent does not answer"


def test_who_takes_part_in_failsafe_mode() -> None:
    world = World()
    guard = {"alive": True, "armed": False}
    on = {"asked_s": 1.0, "consent": ["b", "c"], "vouched_s": 7.5}
    calm = {"state": "standby", "guard": guard}
    leads = {"state": "primary", "guard": guard, "permit_s": 7.5, "failsafe": on}
    bound = {**calm, "failsafe": {"promised_to": "a", "promised_s": 9.1}}
    world.agents.status = {
        "10.0.0.1": primary_status(haagent=leads),
        "10.0.0.2": standby_status(haagent=bound),
        "10.0.0.3": standby_status(haagent=calm),
    }
    said = world.run("list").output
    assert "a guard ready, permit 7.5 s, failsafe mode: goes on without etcd for 7.5 s" in said
    assert "b guard ready, failsafe mode: promised a to wait for 9.1 s; c guard ready" in said
    against = {**leads, "failsafe": {"asked_s": 1.0, "consent": ["b"], "against": {"c": "no answer"}, "vouched_s": 2.0}}
    world.agents.status["10.0.0.1"] = primary_status(haagent=against)
    assert "failsafe mode: without the consent of c" in world.run("list").output


def test_why_a_node_is_in_trouble() -> None:
    world = World()
    own = {"state": "failed", "since_s": 90.0, "why": "the system identifier differs", "guard": {"alive": True}}
    world.agents.status = {"10.0.0.2": standby_status(haagent=own)}
    assert " b: failed for 90.0 s: the system identifier differs" in world.run("list").output.splitlines()


def test_a_cluster_that_is_not_there() -> None:
    world = World(dcs=FakeDcs(a_snapshot(leader=None, initialize=None, status=None, config=None)))
    world.change(members=())
    result = world.run("list", "nosuch")
    assert result.exit_code == 0
    assert result.output.startswith("+ Cluster: nosuch (uninitialized) -")
    assert world.run("list", "nosuch", "-f", "json").output == "[]\n"
    assert world.run("switchover", "nosuch", "--force").exit_code == 1


def test_several_clusters_in_one_document() -> None:
    found = json.loads(World().run("list", "x", "y", "-f", "json").output)
    assert [row["Cluster"] for row in found] == ["x", "x", "x", "y", "y", "y"]


HISTORY = (
    HistoryLine(Timeline(1), Lsn(24392648), "no recovery target specified", "2023-09-11T22:11:27.125527+00:00", "a"),
    HistoryLine(Timeline(2), Lsn(50331864), "no recovery target specified"),
)


def test_history_in_all_formats() -> None:
    world = World()
    world.change(history=HISTORY)
    assert world.run("history").output == dedent(
        """\
        +----+----------+------------------------------+----------------------------------+------------+
        | TL |      LSN | Reason                       | Timestamp                        | New Leader |
        +----+----------+------------------------------+----------------------------------+------------+
        |  1 | 24392648 | no recovery target specified | 2023-09-11T22:11:27.125527+00:00 | a          |
        |  2 | 50331864 | no recovery target specified |                                  |            |
        +----+----------+------------------------------+----------------------------------+------------+
        """
    )
    assert world.run("history", "-f", "tsv").output == text(
        "TL\tLSN\tReason\tTimestamp\tNew Leader",
        "1\t24392648\tno recovery target specified\t2023-09-11T22:11:27.125527+00:00\ta",
        "2\t50331864\tno recovery target specified\t\t",
    )
    expected = [
        {
            "TL": 1,
            "LSN": 24392648,
            "Reason": "no recovery target specified",
            "Timestamp": "2023-09-11T22:11:27.125527+00:00",
            "New Leader": "a",
        },
        {"TL": 2, "LSN": 50331864, "Reason": "no recovery target specified", "Timestamp": "", "New Leader": ""},
    ]
    assert json.loads(world.run("history", "-f", "json").output) == expected
    assert yaml.safe_load(world.run("history", "-f", "yaml").output) == expected


def test_versions_of_agents_and_postgresql() -> None:
    world = World()
    world.agents.status = {
        "10.0.0.1": primary_status(),
        "10.0.0.2": {"state": "running", "server_version": 150002, "patroni": {"version": "4.1.5"}},
    }
    assert world.run("version").output == f"haagent-ctl version {__version__}\n"
    assert world.run("version", "demo").output == text(
        f"haagent-ctl version {__version__}",
        "",
        "a: haagent 0.1.0 PostgreSQL 15.20",
        "b: Patroni 4.1.5 PostgreSQL 15.2",
        "c: its agent does not answer",
    )
    assert world.run("version", "demo", "z", "a").output.splitlines()[2:] == [
        "a: haagent 0.1.0 PostgreSQL 15.20",
        "z: is no member of cluster demo",
    ]


def test_an_etcd_that_does_not_answer_is_told_apart() -> None:
    world = World()
    world.dcs.silent = True
    result = world.run("list")
    assert result.exit_code == 1
    assert "etcd does not answer: none of 3 endpoints answered within 5 s" in result.output


@pytest.mark.parametrize("loop", [("b", "c"), ("c", "b")])
def test_members_that_follow_each_other_are_shown_all_the_same(loop: tuple[str, str]) -> None:
    world = World()
    world.change_member(loop[0], tags={"replicatefrom": loop[1]})
    world.change_member(loop[1], tags={"replicatefrom": loop[0]})
    assert [row["Member"] for row in json.loads(world.run("topology", "-f", "json").output)] == ["a", "b", "c"]


def test_a_leader_without_a_member_key_leaves_the_rest_visible() -> None:
    world = World()
    world.change(members=world.dcs.now.members[1:], status=Status(LSN))
    assert [row["Member"] for row in json.loads(world.run("topology", "-f", "json").output)] == ["b", "c"]
