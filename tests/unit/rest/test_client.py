"""The client: peers asked all at once, haagent's and Patroni's, and operators' requests with clear errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from haagent.core.answers import Answer
from haagent.core.facts import LeaseFacts, Mandate, Member, Remote
from haagent.core.states import State
from haagent.core.status import status
from haagent.core.terms import Lsn, Timeline
from haagent.rest.client import RequestError, RestClient, RestPeers, read_status
from haagent.rest.settings import ClientSettings, SettingsError
from tests.builders import (
    NOW,
    a_member,
    a_memory,
    a_node,
    a_primary,
    a_primary_view,
    a_standby,
    a_view,
    some_settings,
    some_tags,
    stopped,
)
from tests.unit.rest.conftest import Certificates, Node, Serve, listening


@pytest.fixture
async def peers() -> AsyncIterator[RestPeers]:
    client = RestPeers(ClientSettings(), lambda: NOW)
    yield client
    await client.close()


def member_at(node: Node, name: str) -> Member:
    return a_member(name, api_url=f"{node.url}/patroni")


async def dead_port() -> int:
    """A port of loopback on which nobody listens."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    return port


class Silent:
    """Accepts connections and says nothing, as a frozen agent does."""

    async def __aenter__(self) -> str:
        self._writers: list[asyncio.StreamWriter] = []
        self._server = await asyncio.start_server(self._keep, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/patroni"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)


# --- peers ----------------------------------------------------------------------------------------------------


async def test_peers_tell_role_position_and_tags(serve: Serve, peers: RestPeers) -> None:
    primary = await serve(Node())
    tagged = a_node("b", tags=some_tags(nofailover=True))
    standby = await serve(Node(a_view(me=tagged, postgres=a_standby(received_lsn=Lsn(300), replayed_lsn=Lsn(200)))))
    poll = await peers.ask([member_at(primary, "a"), member_at(standby, "b")], 5)
    assert poll.asked_at == NOW
    one, other = poll.replies
    assert (one.name, one.reached, one.running, one.in_recovery, one.leads) == ("a", True, True, False, True)
    assert (one.timeline, one.lsn) == (1, 0x5000000)
    assert (other.name, other.running, other.in_recovery, other.leads) == ("b", True, True, False)
    assert (other.lsn, other.replayed_lsn, other.tags.nofailover) == (300, 200, True)


async def test_a_dead_and_a_frozen_peer_cost_one_deadline_together(serve: Serve, peers: RestPeers) -> None:
    alive = await serve(Node(a_view()))
    async with Silent() as frozen_url:
        dead_url = f"http://127.0.0.1:{await dead_port()}/patroni"
        members = [a_member("a", api_url=dead_url), member_at(alive, "b"), a_member("c", api_url=frozen_url)]
        began = time.monotonic()
        poll = await peers.ask(members, 1.0)
        took = time.monotonic() - began
    assert [reply.reached for reply in poll.replies] == [False, True, False]
    assert 1.0 <= took < 1.9
    assert "no connection" in poll.replies[0].why
    assert "no answer within 1 s" in poll.replies[2].why


async def test_consent_is_an_answer_of_200_in_time_and_nothing_else(serve: Serve) -> None:
    """Fault 30: it goes with credentials, tells each member that it is meant, and fails closed."""
    guarded = listening(username="haagent", password="secret")
    yes = await serve(Node(answer=Answer(200, "Accepted", {"lsn": "7"}), settings=guarded))
    no = await serve(Node(answer=Answer(500, "Running as a leader")))
    stranger = await serve(Node(settings=listening(username="haagent", password="other")))
    client = RestPeers(ClientSettings(username="haagent", password="secret"), lambda: NOW)
    async with Silent() as frozen_url:
        urls = {"b": yes.url, "c": no.url, "d": stranger.url, "e": frozen_url, "f": "nonsense"}
        body = {"name": "a", "haagent": {"term": 7}}
        replies = {one.name: one for one in await client.consent(Mandate(urls, body), 0.5)}
    await client.close()
    assert [name for name, reply in replies.items() if reply.accepted] == ["b"]
    assert yes.submitted[0][:2] == ("failsafe", {"name": "a", "haagent": {"term": 7, "to": "b"}})
    assert replies["c"].why == "it answered 500: Running as a leader"
    assert "it answered 401" in replies["d"].why
    assert "no answer within 0.5 s" in replies["e"].why
    assert stranger.submitted == []


@pytest.mark.parametrize(
    "api_url", ["", "nonsense", "http://", "http://[bad", "ftp://x/", "http://x:99999/", "http://no-such.invalid:1/"]
)
async def test_a_member_without_a_usable_address_is_not_reached(peers: RestPeers, api_url: str) -> None:
    poll = await peers.ask([a_member("a", api_url=api_url)], 2)
    assert not poll.replies[0].reached
    assert poll.replies[0].why


async def test_nobody_to_ask_is_no_error(peers: RestPeers) -> None:
    assert (await peers.ask([], 0.1)).replies == ()


async def test_alive_is_who_answers_whatever_the_answer(serve: Serve, peers: RestPeers) -> None:
    node = await serve(Node(ticked_at=type(NOW)(NOW - 1000)))
    assert await peers.alive(member_at(node, "a"), 2)
    assert not await peers.alive(a_member("a", api_url=f"http://127.0.0.1:{await dead_port()}/patroni"), 2)


# --- what a status tells --------------------------------------------------------------------------------------

PATRONI_PRIMARY: dict[str, Any] = {
    "state": "running",
    "role": "primary",
    "server_version": 150014,
    "xlog": {"location": 67395656},
    "timeline": 3,
    "patroni": {"version": "4.0.0", "scope": "demo", "name": "p"},
}
PATRONI_REPLICA = PATRONI_PRIMARY | {
    "role": "replica",
    "xlog": {"received_location": 700, "replayed_location": 800, "replayed_timestamp": None, "paused": False},
    "tags": {"failover_priority": 2, "nosync": True},
    "watchdog_failed": True,
}


def test_a_patroni_member_is_understood() -> None:
    primary = read_status("p", PATRONI_PRIMARY)
    assert (primary.running, primary.in_recovery, primary.leads) == (True, False, True)
    assert (primary.timeline, primary.lsn, primary.replayed_lsn) == (Timeline(3), 67395656, 67395656)
    replica = read_status("r", PATRONI_REPLICA)
    assert (replica.in_recovery, replica.leads, replica.lsn, replica.replayed_lsn) == (True, False, 800, 800)
    assert (replica.tags.failover_priority, replica.tags.nosync, replica.watchdog_failed) == (2, True, True)


def test_a_patroni_member_says_that_it_has_stopped_its_postgresql_for_good() -> None:
    gone = {name: value for name, value in PATRONI_PRIMARY.items() if name != "xlog"} | {"role": "demoted"}
    assert read_status("p", gone | {"state": "stopped"}).demoted
    assert not read_status("p", gone | {"state": "stopping"}).demoted
    assert not read_status("p", gone | {"state": "stopped", "role": "primary"}).demoted
    assert not read_status("p", gone | {"state": "stopped", "xlog": {"location": 1}}).demoted
    assert not read_status("p", gone | {"state": "stopped", "haagent": {"state": "fenced"}}).demoted


def test_a_patroni_member_of_an_old_version_is_understood() -> None:
    old = read_status("p", PATRONI_PRIMARY | {"role": "master"})
    assert (old.in_recovery, old.leads) == (False, True)


def test_a_standby_leader_leads_and_is_in_recovery() -> None:
    found = read_status("p", PATRONI_REPLICA | {"role": "standby_leader"})
    assert (found.in_recovery, found.leads) == (True, True)


def test_a_primary_whose_permit_ended_does_not_lead_but_still_writes() -> None:
    found = read_status("a", status(a_primary_view(lease=LeaseFacts())))
    assert (found.running, found.in_recovery, found.leads) == (True, False, False)


def test_a_standby_promoted_by_hand_writes_and_does_not_lead() -> None:
    """Fault 58."""
    found = read_status("b", status(a_view(postgres=a_primary())))
    assert (found.in_recovery, found.leads) == (False, False)


def test_a_primary_that_is_being_stopped_still_writes() -> None:
    found = read_status("a", status(a_primary_view(memory=a_memory(State.DEMOTING), lease=LeaseFacts())))
    assert (found.running, found.in_recovery, found.leads) == (True, False, False)


def test_a_node_that_is_down_neither_runs_nor_writes_nor_leads() -> None:
    found = read_status("a", status(a_primary_view(postgres=stopped(), memory=a_memory(State.FENCED))))
    assert (found.reached, found.running, found.in_recovery, found.leads) == (True, False, True, False)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"xlog": [], "tags": "x", "haagent": 7},
        {"timeline": "3", "xlog": {"received_location": None}},
        {"timeline": -1, "xlog": {"received_location": True, "replayed_location": 1.5}},
        {"role": ["primary"], "state": None},
    ],
)
def test_what_cannot_be_read_counts_as_not_said(document: dict[str, Any]) -> None:
    found = read_status("x", document)
    assert found.reached
    assert (found.running, found.leads, found.timeline, found.lsn) == (False, False, 0, 0)


# --- requests -------------------------------------------------------------------------------------------------


async def test_a_request_carries_credentials_only_where_something_changes(serve: Serve) -> None:
    guarded = listening(username="admin", password="secret")
    node = await serve(Node(settings=guarded, answer=Answer(200, {"ttl": 20})))
    async with RestClient(ClientSettings(username="admin", password="secret")) as client:
        reply = await client.request("PATCH", f"{node.url}/patroni", "/config", {"ttl": 20})
        assert (reply.status, reply.ok, reply.document) == (200, True, {"ttl": 20})
        assert node.submitted == [("patch_config", {"ttl": 20}, "admin@127.0.0.1")]
        assert (await client.request("GET", node.url, "/primary?x=1")).status == 200
    async with RestClient(ClientSettings(username="admin", password="wrong")) as client:
        assert (await client.request("POST", node.url, "/restart", {})).status == 401


async def test_a_text_answer_has_no_document(serve: Serve) -> None:
    node = await serve(Node(answer=Answer(503, "I am the leader, can not reinitialize")))
    async with RestClient(ClientSettings()) as client:
        reply = await client.request("POST", node.url, "/reinitialize", {})
    assert (reply.status, reply.ok, reply.text) == (503, False, "I am the leader, can not reinitialize")
    assert reply.document is None


async def test_it_talks_tls_with_a_client_certificate(serve: Serve, certificates: Certificates) -> None:
    own = listening(
        certfile=certificates.cert, keyfile=certificates.key, cafile=certificates.ca, verify_client="required"
    )
    node = await serve(Node(settings=own))
    settings = ClientSettings(cacert=certificates.ca, certfile=certificates.cert, keyfile=certificates.key)
    async with RestClient(settings) as client:
        assert (await client.request("POST", node.url, "/restart", {})).status == 200
    async with RestClient(replace(settings, cacert=None, insecure=True)) as client:
        assert (await client.request("GET", node.url, "/primary")).status == 200


async def test_peers_take_other_certificates_and_keep_the_old_if_the_new_are_unusable(
    serve: Serve, peers: RestPeers, certificates: Certificates
) -> None:
    """Fault 93."""
    node = await serve(Node(settings=listening(certfile=certificates.cert, keyfile=certificates.key)))
    assert not (await peers.ask([member_at(node, "a")], 5)).replies[0].reached
    await peers.reconfigure(ClientSettings(cacert=certificates.ca))
    with pytest.raises(SettingsError):
        await peers.reconfigure(ClientSettings(cacert="/nowhere/ca.pem"))
    assert (await peers.ask([member_at(node, "a")], 5)).replies[0].reached


async def test_errors_tell_what_happened_and_what_it_may_mean(serve: Serve, certificates: Certificates) -> None:
    secure = await serve(Node(settings=listening(certfile=certificates.cert, keyfile=certificates.key)))
    async with RestClient(ClientSettings(timeout_s=0.2)) as client:
        with pytest.raises(RequestError, match=r"certificate is not trusted.*ctl\.cacert"):
            await client.request("GET", secure.url, "/primary", timeout=5)
        with pytest.raises(RequestError, match=r"no connection.*is its agent running"):
            await client.request("GET", f"http://127.0.0.1:{await dead_port()}", "/primary", timeout=5)
        async with Silent() as url:
            with pytest.raises(RequestError, match=r"GET /primary at http://127\.0\.0\.1:\d+: no answer within 0\.2 s"):
                await client.request("GET", url, "/primary")


async def test_no_password_from_a_url_gets_into_an_error() -> None:
    async with RestClient(ClientSettings()) as client:
        with pytest.raises(RequestError) as caught:
            await client.request("GET", f"http://user:secret@127.0.0.1:{await dead_port()}", "/primary")
    assert "secret" not in str(caught.value)


async def test_an_answer_without_end_is_cut_off(peers: RestPeers) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        try:
            while True:
                writer.write(b"[" * 65536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/patroni"
    poll = await peers.ask([a_member("a", api_url=url)], 5)
    server.close()
    assert "longer than" in poll.replies[0].why


async def test_a_standby_leader_is_told_by_its_settings(serve: Serve, peers: RestPeers) -> None:
    settings = some_settings(standby_cluster=Remote("10.1.0.1"))
    node = await serve(Node(a_primary_view(postgres=a_standby(), memory=a_memory(), settings=settings)))
    poll = await peers.ask([member_at(node, "a")], 5)
    assert poll.replies[0].in_recovery
