"""User and password: logins, tokens that expire, rights that are missing (fault 39)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import pytest

from haagent.dcs.client import EtcdClient
from haagent.dcs.settings import EtcdSettings
from haagent.ports import Unreachable
from tests.contract.dcs.lone import member
from tests.contract.dcs.stores import Ears, RealStore

S = 10.0
"""etcd hashes passwords with bcrypt: on a machine that is busy with other tests a login takes seconds."""
TOKEN_TTL_S = 1
ROOT = {"username": "root", "password": "r00t"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A member whose tokens last a second, with a user ``ha`` who may touch ``/service/`` only."""
    with member(tmp_path_factory.mktemp("login"), f"--auth-token-ttl={TOKEN_TTL_S}") as url:
        asyncio.run(_users(url))
        yield url


async def _users(url: str) -> None:
    store = RealStore((url,), "/")
    begin, end = (base64.b64encode(text).decode() for text in (b"/service/", b"/service0"))
    steps: list[tuple[str, dict[str, Any]]] = [
        ("user/add", {"name": "root", "password": ROOT["password"]}),
        ("user/grant", {"user": "root", "role": "root"}),
        ("user/add", {"name": "ha", "password": "secret"}),
        ("role/add", {"name": "ha"}),
        ("role/grant", {"name": "ha", "perm": {"permType": "READWRITE", "key": begin, "range_end": end}}),
        ("user/grant", {"user": "ha", "role": "ha"}),
    ]
    await store.post("/v3/auth/role/add", {"name": "root"})
    for path, body in steps:
        await store.post(f"/v3/auth/{path}", body)


@contextlib.asynccontextmanager
async def authentication(url: str) -> AsyncIterator[None]:
    """Authentication is on for the length of the block."""
    store = RealStore((url,), "/")
    await store.post("/v3/auth/enable", {})
    try:
        yield
    finally:
        token = await store.post("/v3/auth/authenticate", {"name": "root", "password": ROOT["password"]})
        await store.post("/v3/auth/disable", {}, token=token["token"])


def a_store(url: str, prefix: str, transport: str, username: str | None = "ha", password: str = "secret") -> RealStore:
    return RealStore((url,), prefix, username=username, password=password, transport=transport)


async def test_expired_tokens_are_replaced_unnoticed(url: str, prefix: str, transport: str) -> None:
    async with authentication(url), contextlib.aclosing(a_store(url, prefix, transport)) as store:
        a, b, ears = store.dcs(), store.dcs(), Ears()
        lease = await a.open_lease(10, S)
        term = await a.campaign("a", lease, S)
        await b.snapshot(S)
        watching = asyncio.create_task(b.watch(ears.wake))
        await asyncio.sleep(2.5 * TOKEN_TTL_S)
        await a.renew("a", term, lease, S)
        await a.put_config({"ttl": 10}, None, S)
        await ears.hear("the config key changed", S)
        assert (await b.snapshot(S)).config is not None
        watching.cancel()


async def test_authentication_may_be_switched_on_under_way(url: str, prefix: str, transport: str) -> None:
    async with contextlib.aclosing(a_store(url, prefix, transport)) as store:
        a = store.dcs()
        lease = await a.open_lease(10, S)
        term = await a.campaign("a", lease, S)
        async with authentication(url):
            await a.renew("a", term, lease, S)
            await a.put_config({"ttl": 10}, None, S)
        await a.renew("a", term, lease, S)


async def test_a_password_may_be_rotated_under_way(url: str, prefix: str, transport: str) -> None:
    """Fault 39: with the old password etcd is out of reach, and the log says why; a reload with the new one goes on."""
    async with authentication(url), contextlib.aclosing(a_store(url, prefix, transport)) as store:
        a = store.dcs()
        lease = await a.open_lease(10, S)
        term = await a.campaign("a", lease, S)
        await _change_password(url, "rotated")
        try:
            await asyncio.sleep(2.5 * TOKEN_TTL_S)
            with pytest.raises(Unreachable, match=r"login failed: .*check etcd3\.username and etcd3\.password"):
                await a.renew("a", term, lease, S)
            changing = asyncio.create_task(a.use(a_store(url, prefix, transport, password="rotated").kv()))
            await asyncio.sleep(0)
            await a.renew("a", term, lease, S)
            changing.cancel()
        finally:
            await _change_password(url, "secret")


async def _change_password(url: str, password: str) -> None:
    store = RealStore((url,), "/")
    token = await store.post("/v3/auth/authenticate", {"name": "root", "password": ROOT["password"]})
    await store.post("/v3/auth/user/changepw", {"name": "ha", "password": password}, token=token["token"])


@pytest.mark.parametrize(
    ("username", "password", "text"),
    [
        ("ha", "mistaken", r"login failed: .*check etcd3\.username"),
        (None, "", r"set etcd3\.username and etcd3\.password"),
    ],
)
async def test_wrong_credentials_make_etcd_unreachable(
    url: str, prefix: str, transport: str, username: str | None, password: str, text: str
) -> None:
    async with authentication(url), contextlib.aclosing(a_store(url, prefix, transport, username, password)) as store:
        a = store.dcs()
        with pytest.raises(Unreachable, match=text) as told:
            await a.put_config({}, None, S)
        with pytest.raises(Unreachable, match=text):
            await a.snapshot(S)
        assert "mistaken" not in str(told.value)


async def test_a_missing_right_is_named(url: str, transport: str) -> None:
    async with authentication(url), contextlib.aclosing(a_store(url, "/elsewhere/scope/", transport)) as store:
        with pytest.raises(Unreachable, match=r"permission denied .*etcdctl role grant-permission"):
            await store.dcs().put_config({}, None, S)


async def test_a_watch_logs_in_anew(url: str, prefix: str, transport: str) -> None:
    async with authentication(url), contextlib.aclosing(a_store(url, prefix, transport)) as store:
        a, b, ears = store.dcs(), store.dcs(), Ears()
        await b.snapshot(S)
        await asyncio.sleep(2.5 * TOKEN_TTL_S)
        watching = asyncio.create_task(b.watch(ears.wake))
        await a.put_config({"ttl": 10}, None, S)
        await ears.hear("the config key changed", S)
        watching.cancel()


def test_the_password_is_not_shown(transport: Literal["http", "grpc"]) -> None:
    settings = EtcdSettings(("http://127.0.0.1:2379",), "ha", "secret", transport=transport)
    assert "secret" not in repr(settings)
    assert "secret" not in repr(EtcdClient(settings).__dict__)
