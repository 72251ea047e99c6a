"""How to reach etcd."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """``endpoints`` are URLs (``https://etcd1:2379``), asked in this order from the last good one on.

    Without ``cacert`` a server's certificate is not verified, as Patroni documents it for its ``etcd3`` section.
    ``key`` may be left out when it stands in the file of ``cert``.
    """

    endpoints: tuple[str, ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError("at least one endpoint is needed")
