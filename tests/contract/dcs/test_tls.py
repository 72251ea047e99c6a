"""TLS: whom the client believes, whom etcd believes, and certificates that are replaced under way (fault 93)."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from haagent.dcs.client import EtcdClient
from haagent.dcs.settings import EtcdSettings
from haagent.ports import Unreachable
from tests.contract.dcs.certificates import Authority, Pair
from tests.contract.dcs.lone import member
from tests.contract.dcs.stores import SOON_S, RealStore
from tests.real.programs import program

S = SOON_S


@dataclass(frozen=True)
class Guarded:
    """A member that asks for client certificates, the authority it believes, another one, and a good client's pair."""

    url: str
    authority: Authority
    stranger: Authority
    client: Pair

    def store(self, prefix: str, transport: str, **changes: Any) -> RealStore:
        good: dict[str, Any] = {"cacert": self.authority.file, "cert": self.client.cert, "key": self.client.key}
        good["transport"] = transport
        return RealStore((self.url,), prefix, **{**good, **changes})


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    home = tmp_path_factory.mktemp("tls")
    authority, stranger = Authority(home, "authority"), Authority(home, "stranger")
    server = authority.sign("server")
    options = [
        f"--cert-file={server.cert}",
        f"--key-file={server.key}",
        f"--trusted-ca-file={authority.file}",
        "--client-cert-auth",
    ]
    with member(home / "member", *options, scheme="https") as url:
        yield Guarded(url, authority, stranger, authority.sign("client"))


@pytest.fixture(scope="module")
def named(guarded: Guarded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A member that believes the same authority and asks for the users that its clients' certificates name."""
    home = tmp_path_factory.mktemp("named")
    server, root = guarded.authority.sign("named"), guarded.authority.sign("root", "root")
    options = [
        f"--cert-file={server.cert}",
        f"--key-file={server.key}",
        f"--trusted-ca-file={guarded.authority.file}",
        "--client-cert-auth",
    ]
    with member(home / "member", *options, scheme="https") as url:
        ctl = [program("etcdctl"), f"--endpoints={url}", f"--cacert={guarded.authority.file}"]
        ctl += [f"--cert={root.cert}", f"--key={root.key}"]
        for words in (
            "user add root:r00t",
            "user grant-role root root",
            "user add ha:secret",
            "role add ha",
            "role grant-permission ha --prefix=true readwrite /service/",
            "user grant-role ha ha",
            "auth enable",
        ):
            subprocess.run(
                [*ctl, *words.split()], check=True, capture_output=True, env={"ETCDCTL_API": "3"}, timeout=30
            )
        yield url


async def test_both_sides_show_their_certificate(guarded: Guarded, prefix: str, transport: str) -> None:
    async with contextlib.aclosing(guarded.store(prefix, transport)) as store:
        a = store.dcs()
        lease = await a.open_lease(10, S)
        term = await a.campaign("a", lease, S)
        await a.renew("a", term, lease, S)
        assert (await a.snapshot(S)).leader is not None


async def test_a_key_may_stand_in_the_file_of_its_certificate(
    guarded: Guarded, prefix: str, transport: str, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_text(Path(guarded.client.cert).read_text() + Path(guarded.client.key).read_text())
    async with contextlib.aclosing(guarded.store(prefix, transport, cert=str(both), key=None)) as store:
        await store.dcs().snapshot(S)


async def test_a_server_of_another_authority_is_not_believed(guarded: Guarded, prefix: str, transport: str) -> None:
    async with contextlib.aclosing(guarded.store(prefix, transport, cacert=guarded.stranger.file)) as store:
        with pytest.raises(Unreachable, match=r"(?i)certificate.verify.failed"):
            await store.dcs().open_lease(10, 2.0)


async def test_without_an_authority_the_server_is_not_verified(guarded: Guarded, prefix: str) -> None:
    """gRPC knows no such thing: it refuses the settings."""
    async with contextlib.aclosing(guarded.store(prefix, "http", cacert=None)) as store:
        await store.dcs().snapshot(S)
    with pytest.raises(ValueError, match=r"gRPC verifies every server: .* needs etcd3\.cacert"):
        guarded.store(prefix, "grpc", cacert=None).kv()


async def test_a_client_known_by_its_certificates_common_name(
    guarded: Guarded, named: str, prefix: str, transport: str
) -> None:
    """With authentication on, etcd takes the CN for the user; its JSON gateway then refuses, and gRPC does not."""
    pair = guarded.authority.sign("ha", "ha")
    settings = {"cacert": guarded.authority.file, "cert": pair.cert, "key": pair.key, "transport": transport}
    async with contextlib.aclosing(RealStore((named,), prefix, **settings)) as store:
        a = store.dcs()
        if transport == "http":
            with pytest.raises(Unreachable, match=r"CommonName of client .* gateway .*etcd3\.transport: grpc"):
                await a.put_config({}, None, S)
        else:
            lease = await a.open_lease(10, S)
            await a.renew("a", await a.campaign("a", lease, S), lease, S)


async def test_a_client_without_a_certificate_gets_no_answer(guarded: Guarded, prefix: str, transport: str) -> None:
    async with contextlib.aclosing(guarded.store(prefix, transport, cert=None, key=None)) as store:
        with pytest.raises(Unreachable, match=guarded.url):
            await store.dcs().snapshot(0.5)


async def test_replaced_certificates_are_used_without_a_restart(
    guarded: Guarded, prefix: str, transport: str, tmp_path: Path
) -> None:
    mine = Pair(str(tmp_path / "mine.pem"), str(tmp_path / "mine.key"))

    def install(pair: Pair) -> None:
        shutil.copy(pair.cert, mine.cert)
        shutil.copy(pair.key, mine.key)

    install(guarded.stranger.sign("strange"))
    async with contextlib.aclosing(guarded.store(prefix, transport, cert=mine.cert, key=mine.key)) as store:
        a = store.dcs()
        with pytest.raises(Unreachable):
            await a.snapshot(0.5)
        install(guarded.client)
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(Unreachable):
                    await a.snapshot(2.0)
                    break


def test_certificates_that_cannot_be_read_are_named_at_once(tmp_path: Path, transport: Literal["http", "grpc"]) -> None:
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(ValueError, match=r"the certificates cannot be used: .*missing\.pem"):
        EtcdClient(EtcdSettings(("https://127.0.0.1:1",), cacert=missing, transport=transport))
