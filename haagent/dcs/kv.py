"""What is asked of an etcd cluster, as a narrow Protocol that the gateway and the tests' in-memory etcd both serve.

Laws of every implementation:

- Only the three failures of ``haagent.ports`` cross it. ``Refused`` means that a lease is dead; whatever else etcd
  turns away (no space, no permission, wrong password) surely did not happen and is ``Unreachable``, since it says
  nothing about who leads. A read without an answer is ``Unreachable`` too.
- A call is bounded by its ``timeout`` in seconds. Within it the same request may be sent again, to another endpoint or
  to the same: a transaction must therefore bear to be carried out twice, and its caller must know its own success when
  it reads it back in the failure branch. ``TxnReply.repeated`` tells that an earlier copy may have been carried out.
- Ranges are linearizable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from haagent.ports import Unreachable


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key as etcd holds it; ``lease`` is 0 when it hangs on none."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int = 0


class Target(Enum):
    """What of a key a transaction may compare; an absent key has 0 everywhere."""

    CREATE = "create_revision"
    MOD = "mod_revision"
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition of a transaction: this number of the key equals that."""

    key: str
    target: Target
    number: int


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    key: str


Write = Put | Delete


@dataclass(frozen=True, slots=True)
class RangeReply:
    """``revision`` and ``raft_term`` are those of the answering member when it answered."""

    revision: int
    raft_term: int
    kvs: tuple[KeyValue, ...] = ()


@dataclass(frozen=True, slots=True)
class TxnReply:
    """When the conditions failed, ``found`` holds the keys that the transaction asked to read back, if they exist."""

    succeeded: bool
    revision: int
    raft_term: int
    found: tuple[KeyValue, ...] = ()
    repeated: bool = False

    def key(self, name: str) -> KeyValue | None:
        """The key of that name among those read back."""
        return next((kv for kv in self.found if kv.key == name), None)


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease, and the seconds etcd granted to it."""

    lease: int
    ttl: float


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """A key was put, or with ``deleted`` it is gone; of a deleted key only name and ``mod_revision`` are known."""

    kv: KeyValue
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """A message of a watch: events in the order of their revisions; without any it is a sign of life."""

    revision: int
    events: tuple[KeyEvent, ...] = ()


class Denied(Unreachable):
    """etcd said that it will not do this: no endpoint is asked for it a second time within the same call."""


class Compacted(Unreachable):
    """A watch asked for a past that etcd no longer keeps: everything must be read anew."""


class Kv(Protocol):
    """An etcd cluster behind one or several endpoints."""

    async def range(self, key: str, timeout: float, *, prefix: bool = False) -> RangeReply:
        """One key, or all that begin with it."""
        ...

    async def txn(
        self, when: Sequence[Compare], then: Sequence[Write], read_back: Sequence[str], timeout: float
    ) -> TxnReply:
        """If all of ``when`` hold do ``then``, else read the keys of ``read_back``.

        Refused when a put names a lease that is dead.
        """
        ...

    async def grant(self, ttl: int, timeout: float) -> Grant:
        """A new lease of at least ``ttl`` seconds."""
        ...

    async def keepalive(self, lease: int, timeout: float) -> float:
        """Start the lease afresh; the seconds it has now. Refused when it is dead."""
        ...

    async def granted_ttl(self, lease: int, timeout: float) -> float:
        """What was granted to the lease, in seconds; Refused when it is dead."""
        ...

    async def revoke(self, lease: int, timeout: float) -> None:
        """End the lease and delete the keys that hang on it; Refused when it is dead."""
        ...

    async def watch(
        self, prefix: str, start: int, silence: Callable[[], float], on_batch: Callable[[Batch], None]
    ) -> None:
        """Hand on the changes since revision ``start`` of the keys that begin with ``prefix``, until it fails.

        Unreachable when the connection ended or nothing was heard for ``silence()`` seconds, asked after each word:
        the next call goes to another endpoint and may resume where this one ended. Compacted when ``start`` is too
        long ago.
        """
        ...

    def distrust(self) -> None:
        """The last answer cannot be true: ask another endpoint next."""
        ...

    async def close(self) -> None: ...
