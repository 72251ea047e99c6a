"""An etcd cluster of real members, and a look into it through its JSON gateway."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real.hosts import Host
from tests.real.http import Reply, request
from tests.real.processes import Process
from tests.real.programs import program
from tests.real.waiting import wait_until


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@dataclass(frozen=True)
class KeyValue:
    """A key as etcd holds it."""

    value: str
    create_revision: int
    mod_revision: int
    lease: int


@dataclass
class Member:
    """One etcd process with its directory."""

    name: str
    host: Host
    client_port: int
    peer_port: int
    directory: Path
    process: Process

    @property
    def endpoint(self) -> str:
        """Where clients reach it."""
        return f"{self.host.address}:{self.client_port}"


class EtcdCluster:
    """Members that know each other; started together, killed and started again one by one."""

    def __init__(self, hosts: Sequence[Host], home: Path, ports: Sequence[tuple[int, int]] | None = None) -> None:
        self._home = home
        self._made = len(hosts)
        ports = ports or [(2379, 2380)] * len(hosts)
        peers = ",".join(
            f"etcd{number}=http://{host.address}:{port[1]}"
            for number, (host, port) in enumerate(zip(hosts, ports, strict=True), 1)
        )
        self.members = [
            self._member(number, host, port, home, peers)
            for number, (host, port) in enumerate(zip(hosts, ports, strict=True), 1)
        ]

    @staticmethod
    def _member(number: int, host: Host, ports: tuple[int, int], home: Path, peers: str, state: str = "new") -> Member:
        name, directory = f"etcd{number}", home / f"etcd{number}"
        client, peer = (f"http://{host.address}:{port}" for port in ports)
        argv = [
            program("etcd"),
            f"--name={name}",
            f"--data-dir={directory}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={peers}",
            "--initial-cluster-token=trial",
            f"--initial-cluster-state={state}",
            "--log-level=warn",
        ]
        environment = {"ETCD_UNSUPPORTED_ARCH": "arm64", **host.environment()}
        process = Process(host.command(argv), home / f"{name}.log", environment)
        return Member(name, host, ports[0], ports[1], directory, process)

    @property
    def endpoints(self) -> list[str]:
        """Of all members, dead or alive."""
        return [member.endpoint for member in self.members]

    def start(self) -> None:
        """Start all members and wait until they have a leader."""
        for member in self.members:
            member.process.start()
        wait_until(self.leader, "an etcd leader", 20)

    def stop(self) -> None:
        """End all members."""
        for member in self.members:
            member.process.kill()

    def erase(self) -> None:
        """Remove all that the members stored."""
        for member in self.members:
            shutil.rmtree(member.directory, ignore_errors=True)

    def replace(self, old: Member, ports: tuple[int, int]) -> Member:
        """Put a new, empty member on other ports in the place of one, as an operator does: add, start, remove, end."""
        others = [member for member in self.members if member is not old]
        self._made += 1
        name, url = f"etcd{self._made}", f"http://{old.host.address}:{ports[1]}"
        known = self._changed(others[0], "add", {"peerURLs": [url]})["members"]
        peers = ",".join(f"{one.get('name') or name}={one['peerURLs'][0]}" for one in known)
        new = self._member(self._made, old.host, ports, self._home, peers, "existing")
        new.process.start()
        wait_until(lambda: self.ask(new, "/v3/kv/range", {"key": _b64("x")}).status == 200, f"{name} to serve", 15)
        gone = next(one["ID"] for one in known if one.get("name") == old.name)
        self._changed(others[0], "remove", {"ID": gone})
        old.process.kill()
        self.members[self.members.index(old)] = new
        return new

    def _changed(self, by: Member, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change the list of members; etcd refuses while it is not sure of the ones that it has."""

        def done() -> Reply | None:
            reply = self.ask(by, f"/v3/cluster/member/{what}", body)
            return reply if reply.status == 200 else None

        return dict(wait_until(done, f"etcd to {what} a member", 15).json)

    def leader(self) -> Member | None:
        """The member that says of itself that it leads."""
        for member in self.members:
            reply = self.ask(member, "/v3/maintenance/status", {})
            if reply.status == 200 and reply.json["header"]["member_id"] == reply.json.get("leader"):
                return member
        return None

    def move_leader(self, to: Member) -> None:
        """Make that member the leader."""

        def moved() -> bool:
            leader = self.leader()
            if leader is not None and leader is not to:
                target = self.ask(to, "/v3/maintenance/status", {}).json["header"]["member_id"]
                self.ask(leader, "/v3/maintenance/transfer-leadership", {"targetID": target})
            return leader is to

        wait_until(moved, f"{to.name} to lead", 10)

    @staticmethod
    def ask(member: Member, path: str, body: object) -> Reply:
        """Call a member's gateway from its own host."""
        return request(member.host, member.host.address, member.client_port, "POST", path, body)

    def get(self, key: str) -> KeyValue | None:
        """Read a key, linearizably; None when it is absent; OSError when no member answers."""
        for member in self.members:
            reply = self.ask(member, "/v3/kv/range", {"key": _b64(key)})
            if reply.status == 200:
                found: list[dict[str, Any]] = reply.json.get("kvs", [])
                return _key_value(found[0]) if found else None
        raise OSError("no etcd member answers")

    def put(self, key: str, value: str) -> None:
        """Write a key; OSError when no member answers."""
        for member in self.members:
            if self.ask(member, "/v3/kv/put", {"key": _b64(key), "value": _b64(value)}).status == 200:
                return
        raise OSError("no etcd member answers")

    def wipe(self) -> None:
        """Delete every key, as by a slip of the hand; OSError when no member answers."""
        for member in self.members:
            if self.ask(member, "/v3/kv/deleterange", {"key": "AA==", "range_end": "AA=="}).status == 200:
                return
        raise OSError("no etcd member answers")

    def requests_served(self) -> int:
        """How many calls the living members have begun to serve so far, from their metrics."""
        total = 0.0
        for member in self.members:
            reply = request(member.host, member.host.address, member.client_port, "GET", "/metrics")
            for line in reply.text.splitlines():
                if line.startswith("grpc_server_started_total") and "Maintenance" not in line:
                    total += float(line.rpartition(" ")[2])
        return int(total)


def _key_value(raw: dict[str, Any]) -> KeyValue:
    return KeyValue(
        value=base64.b64decode(raw.get("value", "")).decode(),
        create_revision=int(raw["create_revision"]),
        mod_revision=int(raw["mod_revision"]),
        lease=int(raw.get("lease", 0)),
    )
