"""A real server on loopback over a fixed view, and certificates to serve with."""

from __future__ import annotations

import datetime
import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from haagent.core.answers import Answer
from haagent.core.facts import Document, View
from haagent.core.terms import Instant
from haagent.rest.metrics import Counters
from haagent.rest.server import RestServer
from haagent.rest.settings import RestSettings
from tests.builders import NOW, a_primary_view


@dataclass
class Node:
    """A server, what it shows, and what was submitted to it."""

    view: View = field(default_factory=a_primary_view)
    ticked_at: Instant = NOW
    answer: Answer = field(default_factory=lambda: Answer(200, "done"))
    submitted: list[tuple[str, Document, str]] = field(default_factory=list)
    counters: Counters = Counters(rows={610: 7}, ticks=42)
    server: RestServer | None = None
    settings: RestSettings = RestSettings(listen=("127.0.0.1:0",))

    async def submit(self, kind: str, body: Document, origin: str) -> Answer:
        self.submitted.append((kind, body, origin))
        return self.answer

    async def examined(self) -> bytes:
        return b'{"findings": []}'

    async def start(self) -> None:
        self.server = RestServer(
            self.settings,
            lambda: self.view,
            self.submit,
            lambda: self.ticked_at,
            lambda: self.counters,
            lambda limit: json.dumps([{"asked for": limit}]).encode(),
            self.examined,
        )
        await self.server.start()

    @property
    def port(self) -> int:
        assert self.server is not None
        return self.server.addresses[0][1]

    @property
    def url(self) -> str:
        scheme = "https" if self.settings.tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}"


Serve = Callable[[Node], Awaitable[Node]]


def listening(**settings: object) -> RestSettings:
    """Settings of a server on a free port of loopback."""
    return replace(RestSettings(listen=("127.0.0.1:0",)), **settings)  # type: ignore[arg-type]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server; all are stopped at the end."""
    started: list[Node] = []

    async def start(node: Node) -> Node:
        await node.start()
        started.append(node)
        return node

    yield start
    for node in started:
        assert node.server is not None
        await node.server.stop()


@dataclass(frozen=True)
class Certificates:
    """An authority, and a certificate signed by it with its (encrypted) key."""

    ca: str
    cert: str
    key: str
    encrypted_key: str
    password: str = "pass phrase"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made anew for each run: valid for 127.0.0.1, as server and as client."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


def make_certificates(directory: Path) -> Certificates:
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    base = x509.CertificateBuilder().not_valid_before(now - datetime.timedelta(days=1))
    base = base.not_valid_after(now + datetime.timedelta(days=1))
    ca_usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    authority = (
        base.subject_name(ca_name)
        .issuer_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(ca_usage, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        base.subject_name(name)
        .issuer_name(ca_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    made = Certificates(*(str(directory / name) for name in ("ca.pem", "cert.pem", "key.pem", "encrypted.pem")))
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    Path(made.ca).write_bytes(authority.public_bytes(pem))
    Path(made.cert).write_bytes(certificate.public_bytes(pem))
    Path(made.key).write_bytes(key.private_bytes(pem, kind, serialization.NoEncryption()))
    locked = serialization.BestAvailableEncryption(made.password.encode())
    Path(made.encrypted_key).write_bytes(key.private_bytes(pem, kind, locked))
    return made


async def ask(
    node: Node, method: str, path: str, body: bytes | None = None, **options: object
) -> tuple[int, str, dict[str, str]]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, node.url + path, data=body, **options) as reply,  # type: ignore[arg-type]
    ):
        return reply.status, await reply.text(), {str(name): value for name, value in reply.headers.items()}


async def code(node: Node, path: str, method: str = "GET") -> int:
    return (await ask(node, method, path))[0]


GUARDED = listening(username="admin", password="pässword")
