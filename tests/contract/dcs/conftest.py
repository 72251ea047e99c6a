"""Three real etcd members in network namespaces, whole before each test; and beside them etcd in memory."""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contract.dcs.stores import MemoryStore, RealStore, Store
from tests.real.etcd import EtcdCluster
from tests.real.network import Network
from tests.real.waiting import wait_until
from tests.sim.world.etcd import Etcd

_scopes = itertools.count(1)


class Trial:
    """Three members, each a host of its own, and a host from which they are asked."""

    def __init__(self, network: Network, home: Path) -> None:
        self.hosts = [network.host(f"etcd{number}") for number in (1, 2, 3)]
        self.client = network.hosts["client"]
        self.cluster = EtcdCluster(self.hosts, home)

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(f"http://{endpoint}" for endpoint in self.cluster.endpoints)

    def mend(self) -> None:
        """Undo what a test did."""
        self.client.heal()
        for host, member in zip(self.hosts, self.cluster.members, strict=True):
            host.heal()
            member.process.send(signal.SIGCONT)
            if not member.process.running:
                member.process.start()
        wait_until(self._whole, "all etcd members to agree on a leader", 20, 0.02)

    def _whole(self) -> bool:
        told = [self.cluster.ask(member, "/v3/maintenance/status", {}) for member in self.cluster.members]
        leaders = {reply.json.get("leader") if reply.status == 200 else None for reply in told}
        return len(leaders) == 1 and leaders != {None}

    def isolate(self, index: int, *, from_client: bool = False) -> None:
        """Cut a member off from the other members, or from everybody; its link stays up and silent."""
        others = [host for host in self.hosts if host is not self.hosts[index]]
        self.hosts[index].cut_off(None if from_client else others)

    def freeze(self, index: int) -> None:
        self.cluster.members[index].process.send(signal.SIGSTOP)

    def kill(self, index: int) -> None:
        self.cluster.members[index].process.kill()


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """Where the members are hosts, and ``client`` asks them."""
    with Network() as made:
        made.host("client")
        yield made


@pytest.fixture(scope="package", autouse=True)
def inside(network: Network) -> Iterator[None]:
    """All tests here connect from the host ``client``: gRPC's threads stay in the namespace in which they began."""
    with network.hosts["client"].inside():
        yield


@pytest.fixture(scope="session")
def the_trial(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    trial = Trial(network, tmp_path_factory.mktemp("etcd"))
    trial.cluster.start()
    try:
        yield trial
    finally:
        trial.cluster.stop()


@pytest.fixture
def trial(the_trial: Trial) -> Trial:
    """The members, whole."""
    the_trial.mend()
    return the_trial


@pytest.fixture
def prefix() -> str:
    return f"/service/scope{next(_scopes)}/"


@pytest.fixture(params=["memory", "http", "grpc"])
async def store(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Store]:
    """An etcd to be asked by several clients: in memory, and the real one."""
    made: Store
    if request.param == "memory":
        made = MemoryStore(Etcd(time.monotonic), prefix)
    else:
        trial: Trial = request.getfixturevalue("trial")
        made = RealStore(trial.urls, prefix, transport=request.param)
    async with contextlib.aclosing(made):
        yield made


@pytest.fixture(params=["http", "grpc"])
def transport(request: pytest.FixtureRequest) -> str:
    """How etcd is reached."""
    return str(request.param)


@pytest.fixture
async def real(trial: Trial, prefix: str, transport: str) -> AsyncIterator[RealStore]:
    """The real etcd."""
    async with contextlib.aclosing(RealStore(trial.urls, prefix, transport=transport)) as made:
        yield made
