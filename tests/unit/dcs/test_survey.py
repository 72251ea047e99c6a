"""What endpoints of etcd say of themselves, through either transport's words."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from haagent.core.health.etcd import EtcdFacts
from haagent.dcs.endpoint import Endpoint, EtcdError
from haagent.dcs.http import Http
from haagent.dcs.race import Try
from haagent.dcs.settings import EtcdSettings
from haagent.dcs.survey import surveyed
from haagent.dcs.wire import Json

STATUS = {"header": {"member_id": "7"}, "version": "3.4.23", "dbSize": "20480", "leader": "7"}
MEMBERS = {"members": [{"ID": "7"}, {"ID": "8"}, {"ID": "9", "isLearner": True}]}


class Answering(Endpoint):
    """An endpoint that answers from a table; what is not in it is refused."""

    def __init__(self, url: str, answers: dict[str, Any]) -> None:
        super().__init__(url, EtcdSettings((url,)))
        self._answers = answers

    async def _send(self, path: str, body: Json, token: str, timeout: float, one: Try) -> Json:
        if path not in self._answers:
            raise EtcdError("etcdserver: permission denied", 403)
        answer: Json = self._answers[path]
        return answer

    async def _listen(self, path: str, body: Json, token: str) -> AsyncGenerator[list[Json], None]:
        yield []

    def _troubled(self) -> None:
        return


async def asked(*endpoints: Endpoint) -> EtcdFacts:
    """The survey of these, none of which serves metrics."""
    http = Http(EtcdSettings(("http://127.0.0.1:1",)))
    try:
        return await surveyed(endpoints, http, 1.0)
    finally:
        await http.close()


async def test_what_is_told_and_what_is_refused() -> None:
    alarms = {"alarms": [{"memberID": "7", "alarm": "NOSPACE"}, {"memberID": "8", "alarm": 2}]}
    answers = {"/v3/maintenance/status": STATUS, "/v3/cluster/member/list": MEMBERS, "/v3/maintenance/alarm": alarms}
    found = await asked(Answering("http://127.0.0.1:1", answers), Answering("http://127.0.0.1:2", {}))
    one, other = found.endpoints
    assert (one.member_id, one.leader_id, one.version, one.db_bytes) == (7, 7, "3.4.23", 20480)
    assert one.quota_bytes is None
    assert "permission denied" in other.why
    assert (found.members, found.alarms) == (2, ("NOSPACE", "CORRUPT"))


async def test_alarms_that_may_not_be_asked_are_not_known() -> None:
    found = await asked(Answering("http://127.0.0.1:1", {"/v3/maintenance/status": STATUS}))
    assert (found.members, found.alarms) == (0, None)
