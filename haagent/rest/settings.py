"""What the REST server and its clients need to know, as frozen values, and the TLS contexts made from them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

VerifyClient = Literal["none", "optional", "required"]


class SettingsError(ValueError):
    """A setting of ``restapi`` or ``ctl`` cannot be used; the text names the setting and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class RestSettings:
    """The ``restapi`` section as the server uses it; unsafe methods are open when no ``username`` is set."""

    listen: tuple[str, ...] = ("127.0.0.1:8008",)
    """Each ``host:port``; ``*`` or an empty host means all interfaces, an IPv6 address stands in brackets."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    certfile: str | None = None
    keyfile: str | None = None
    keyfile_password: str | None = field(default=None, repr=False)
    cafile: str | None = None
    ciphers: str | None = None
    verify_client: VerifyClient = "none"
    allowlist: tuple[str, ...] = ()
    """Addresses, networks and host names that may use unsafe methods; empty: everybody."""
    allowlist_include_members: bool = False
    http_extra_headers: Mapping[str, str] = field(default_factory=dict)
    https_extra_headers: Mapping[str, str] = field(default_factory=dict)
    server_tokens: str = "original"
    request_queue_size: int = 128
    """How many connections the kernel keeps waiting for each address."""
    max_connections: int = 512
    max_body: int = 1_048_576
    """Bytes of a request's body."""
    idle_timeout_s: float = 75.0
    """How long a connection may say nothing, or take over the head of a request."""
    body_timeout_s: float = 10.0
    answer_timeout_s: float = 900.0
    """How long an operator's request may wait for its answer."""

    @property
    def tls(self) -> bool:
        return bool(self.certfile)


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How to talk to an agent: the ``ctl`` section with the ``restapi`` section behind it."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    cacert: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    keyfile_password: str | None = field(default=None, repr=False)
    insecure: bool = False
    """Do not verify the server's certificate."""
    timeout_s: float = 10.0


def address(listen: str) -> tuple[str | None, int]:
    """Host (None: all interfaces) and port of ``host:port``; SettingsError when it is neither."""
    host, colon, port = listen.strip().rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"restapi.listen is {listen!r}; expected host:port such as 0.0.0.0:8008")
    host = host.removeprefix("[").removesuffix("]")
    return (None if host in ("", "*") else host), int(port)


def server_context(settings: RestSettings) -> ssl.SSLContext | None:
    """The server's TLS context, None without ``certfile``; SettingsError when a file cannot be used."""
    if not settings.tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_chain(context, "restapi", settings.certfile, settings.keyfile, settings.keyfile_password)
    if settings.ciphers:
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError as error:
            raise SettingsError(f"restapi.ciphers names no usable cipher: {settings.ciphers!r}") from error
    if settings.verify_client != "none":
        if not settings.cafile:
            raise SettingsError(
                f"restapi.verify_client is {settings.verify_client!r}, but restapi.cafile, the authorities that sign "
                "the clients' certificates, is not set"
            )
        _load_authorities(context, "restapi.cafile", settings.cafile)
        required = settings.verify_client == "required"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def client_context(settings: ClientSettings) -> ssl.SSLContext:
    """The client's TLS context; SettingsError when a file cannot be used."""
    context = ssl.create_default_context()
    if settings.cacert:
        _load_authorities(context, "ctl.cacert", settings.cacert)
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.certfile:
        _load_chain(context, "ctl", settings.certfile, settings.keyfile, settings.keyfile_password)
    return context


def _load_chain(
    context: ssl.SSLContext, section: str, certfile: str | None, keyfile: str | None, password: str | None
) -> None:
    # An empty password instead of none: OpenSSL would ask for it on the terminal, and wait.
    try:
        context.load_cert_chain(certfile or "", keyfile or None, lambda: password or "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
        raise SettingsError(
            f"{section}.certfile {certfile!r} with {section}.keyfile {keyfile!r} cannot be used: {reason}"
        ) from error


def _load_authorities(context: ssl.SSLContext, name: str, cafile: str) -> None:
    try:
        context.load_verify_locations(cafile)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
        raise SettingsError(f"{name} {cafile!r} cannot be used: {reason}") from error
