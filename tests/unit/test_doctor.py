"""What the doctor gathers of a real directory and of ports that nobody answers, and how often it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from haagent import doctor
from haagent.config.load import Config, load
from haagent.core.facts import View
from haagent.core.health.facts import NodeFacts
from haagent.core.health.finding import Verdict
from haagent.core.health.judge import judged
from tests.builders import a_cluster, a_member, a_view

FILE = """
scope: demo
name: b
etcd3: {{hosts: "127.0.0.1:1"}}
restapi: {{listen: "127.0.0.1:8008", connect_address: "127.0.0.1:8008"}}
postgresql:
  listen: 127.0.0.1:5432
  connect_address: 127.0.0.1:5432
  data_dir: {place}/pg
  callbacks: {{on_start: /nowhere/hook}}
  authentication: {{superuser: {{username: s, password: hush}}, replication: {{username: r, password: hush}}}}
"""
DEAD: dict[str, Any] = {"conn_url": "postgres://127.0.0.1:1/postgres", "api_url": "http://127.0.0.1:1/patroni"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "pg").mkdir(mode=0o700)
    file = tmp_path / "haagent.yml"
    file.write_text(FILE.format(place=tmp_path))
    file.chmod(0o600)
    return load(str(file), {})


def verdicts(facts: NodeFacts) -> dict[str, Verdict]:
    return {one.id: one.verdict for one in judged(facts)}


async def test_a_node_whose_peer_is_gone(config: Config) -> None:
    view = a_view(cluster=a_cluster(a_member("a", **DEAD), a_member("b")))
    facts = await doctor.gathered(config, view)
    found = verdicts(facts)
    wrong = ("rest-ports", "postgres-ports", "superuser-logins", "replication-logins", "rewind-logins", "hooks")
    assert {name: found[name] for name in wrong} == dict.fromkeys(wrong, Verdict.PROBLEM)
    assert [found[name] for name in ("data-directory-mode", "names", "gathered")] == [Verdict.OK] * 3
    assert "hush" not in json.dumps([one.document() for one in judged(facts)])


async def test_before_service_etcd_is_asked(config: Config) -> None:
    facts = await doctor.gathered(config, None)
    assert (verdicts(facts)["etcd-from-here"], facts.view) == (Verdict.PROBLEM, None)


async def test_one_examination_serves_all_who_ask_within_seconds(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    facts = await doctor.gathered(config, a_view(cluster=a_cluster(a_member("b"))))

    async def counted(_config: Config, _view: View | None) -> NodeFacts:
        nonlocal asked
        asked += 1
        return facts

    monkeypatch.setattr(doctor, "gathered", counted)
    examine = doctor.Doctor(lambda: config, a_view)
    first, second = json.loads(await examine()), json.loads(await examine())
    assert asked == 1
    assert first["findings"] == second["findings"]
    assert first["wall"] <= second["wall"]
