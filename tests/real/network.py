"""One network namespace for each host, all on one switch, each to be unplugged or cut off from chosen others."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.real.hosts import as_user
from tests.real.processes import kill_all

PREFIX = "hatrial"
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _run(*argv: str, stdin: str | None = None) -> str:
    done = subprocess.run(argv, input=stdin, text=True, capture_output=True, timeout=20, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def _ip(namespace: str, *arguments: str) -> None:
    """``ip -n`` without its mounts, which need more than the network."""
    _run("nsenter", f"--net=/run/netns/{namespace}", "--", "ip", *arguments)


def _open(namespace: str) -> int:
    return os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)


def _enter(handle: int) -> None:
    if _libc.setns(handle, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace (are you root?)")


def _pids_in(namespace: str) -> set[int]:
    return {int(pid) for pid in _run("ip", "netns", "pids", namespace).split()}


def _dropped(side: str, others: Iterable[NamespacedHost] | None) -> str:
    if others is None:
        return "drop;"
    addresses = ", ".join(host.address for host in others)
    return f"ip {side} {{ {addresses} }} drop;" if addresses else ""


@dataclass
class NamespacedHost:
    """A host with a network namespace of its own."""

    name: str
    address: str
    namespace: str
    switch: str

    def command(self, argv: Sequence[str], user: str | None = None) -> list[str]:
        """Enter the namespace, then become the user; each by exec, so that the process id stays."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *as_user(argv, user)]

    def environment(self) -> dict[str, str]:
        """The namespace is mark enough."""
        return {}

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Move the present thread into the namespace and back."""
        outside, there = _open("/proc/thread-self/ns/net"), _open(f"/run/netns/{self.namespace}")
        try:
            _enter(there)
            yield
        finally:
            _enter(outside)
            os.close(outside)
            os.close(there)

    def pids(self) -> set[int]:
        """Every process in the namespace, but for this one."""
        return _pids_in(self.namespace) - {os.getpid()}

    def readdress(self, address: str) -> None:
        """Give it another address; the one that it had leads nowhere any more."""
        _ip(self.namespace, "addr", "del", f"{self.address}/24", "dev", "eth0")
        _ip(self.namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        self.address = address

    def unplug(self) -> None:
        """Pull the cable: the port on the switch goes down."""
        _ip(self.switch, "link", "set", self.name, "down")

    def plug(self) -> None:
        """Put the cable back."""
        _ip(self.switch, "link", "set", self.name, "up")

    def cut_off(self, others: Iterable[NamespacedHost] | None = None) -> None:
        """Drop every packet from and to the others, or to all but itself; the link stays up."""
        chosen = None if others is None else list(others)
        self.drop(chosen, chosen)

    def drop(self, incoming: Iterable[NamespacedHost] | None, outgoing: Iterable[NamespacedHost] | None) -> None:
        """Drop every packet from the ones and to the others, and no other packet; None: all but itself."""
        inward, outward = _dropped("saddr", incoming), _dropped("daddr", outgoing)
        self._filter(
            "table inet cut {\n"
            f" chain in {{ type filter hook input priority 0; iif lo accept; {inward} }}\n"
            f" chain out {{ type filter hook output priority 0; oif lo accept; {outward} }}\n"
            "}\n"
        )

    def lose(self, one_in: int) -> None:
        """Drop packets at random, one in so many, each way; to itself none."""
        rule = f"iif lo accept; numgen random mod {one_in} 0 drop;"
        self._filter(
            "table inet cut {\n"
            f" chain in {{ type filter hook input priority 0; {rule} }}\n"
            f" chain out {{ type filter hook output priority 0; {rule.replace('iif', 'oif')} }}\n"
            "}\n"
        )

    def reject(self, port: int, others: Iterable[NamespacedHost]) -> None:
        """Answer this host's own packets to that port of the others with a reset, as a firewall may."""
        addresses = ", ".join(host.address for host in others)
        rule = f"ip daddr {{ {addresses} }} tcp dport {port} reject with tcp reset"
        self._filter(f"table inet cut {{\n chain out {{\n type filter hook output priority 0;\n {rule}\n }}\n}}\n")

    def block(self, port: int, others: Iterable[NamespacedHost]) -> None:
        """Drop every packet of TCP connections to that port, here or there, between this host and the others."""
        addresses = ", ".join(host.address for host in others)
        rules = "".join(
            f" chain {chain} {{ type filter hook {hook} priority 0; "
            f"ip {side} {{ {addresses} }} tcp dport {port} drop; "
            f"ip {side} {{ {addresses} }} tcp sport {port} drop; }}\n"
            for chain, hook, side in (("in", "input", "saddr"), ("out", "output", "daddr"))
        )
        self._filter(f"table inet cut {{\n{rules}}}\n")

    def heal(self) -> None:
        """Let every packet pass again."""
        self._filter("")

    def _filter(self, rules: str) -> None:
        _run(*self.command(["nft", "-f", "-"]), stdin=f"table inet cut\ndelete table inet cut\n{rules}")


_numbers = itertools.count(1)


@dataclass
class Network:
    """A switch with hosts on it; a context manager that leaves nothing behind."""

    hosts: dict[str, NamespacedHost] = field(default_factory=dict)
    _name: str = field(default_factory=lambda: f"{PREFIX}-{os.getpid()}-{next(_numbers)}")

    def __enter__(self) -> Network:
        sweep()
        _run("ip", "netns", "add", self.switch)
        _ip(self.switch, "link", "add", "bridge", "type", "bridge")
        _ip(self.switch, "link", "set", "bridge", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            _remove(host.namespace)
        _remove(self.switch)
        self.hosts.clear()

    @property
    def switch(self) -> str:
        """The namespace in which the cables end."""
        return f"{self._name}-switch"

    def host(self, name: str) -> NamespacedHost:
        """A new host, plugged in."""
        namespace, address = f"{self._name}-{name}", f"10.10.0.{len(self.hosts) + 1}"
        made = NamespacedHost(name, address, namespace, self.switch)
        self.hosts[name] = made
        _run("ip", "netns", "add", namespace)
        _run("ip", "link", "add", "eth0", "netns", namespace, "type", "veth", "peer", name, "netns", self.switch)
        _ip(self.switch, "link", "set", name, "master", "bridge", "up")
        _ip(namespace, "link", "set", "lo", "up")
        _ip(namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip(namespace, "link", "set", "eth0", "up")
        return made


def _remove(namespace: str) -> None:
    if Path(f"/run/netns/{namespace}").exists():
        kill_all(_pids_in(namespace) - {os.getpid()})
        _run("ip", "netns", "del", namespace)


def sweep() -> None:
    """Remove what an earlier trial left that was itself killed: namespaces named after a process no longer there."""
    for entry in Path("/run/netns").glob(f"{PREFIX}-*-*"):
        owner = entry.name.removeprefix(f"{PREFIX}-").partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            _remove(entry.name)
