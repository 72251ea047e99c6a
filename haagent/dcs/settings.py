"""How to reach etcd."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Scheme = Literal["http", "https"]


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """``endpoints`` are URLs (``https://etcd1:2379``), asked in this order from the last good one on.

    ``srv`` is a domain whose SRV records name them instead. With ``discover`` etcd is asked for its members, so that
    ones that were added later are found. ``protocol`` is that of SRV records that tell none. Without ``cacert`` a
    server's certificate is not verified, as Patroni documents it for its ``etcd3`` section; gRPC knows no such thing
    and needs it. ``key`` may be left out when it stands in the file of ``cert``.
    """

    endpoints: tuple[str, ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    transport: Literal["http", "grpc"] = "http"
    protocol: Scheme = "http"
    discover: bool = True
    srv: str | None = None
    srv_suffix: str | None = None

    def __post_init__(self) -> None:
        if not self.endpoints and self.srv is None:
            raise ValueError("at least one endpoint is needed")

    @property
    def secure(self) -> bool:
        """Whether any endpoint may speak TLS."""
        return self.srv is not None or any(url.startswith("https:") for url in self.endpoints)
