"""A single etcd member on loopback, with whatever options a test needs."""

from __future__ import annotations

import contextlib
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.real.processes import Process
from tests.real.programs import program
from tests.real.waiting import wait_until


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def member(home: Path, *options: str, scheme: str = "http", port: int | None = None) -> Iterator[str]:
    """A running member, on the data that may be there already; its URL."""
    home.mkdir(parents=True, exist_ok=True)
    url = f"{scheme}://127.0.0.1:{port or free_port()}"
    peer = f"http://127.0.0.1:{free_port()}"
    metrics = f"http://127.0.0.1:{free_port()}"
    argv: Sequence[str] = (
        program("etcd"),
        "--name=alone",
        f"--data-dir={home}/data",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=alone={peer}",
        f"--listen-metrics-urls={metrics}",
        "--log-level=warn",
        *options,
    )
    process = Process(argv, home / "log", {"ETCD_UNSUPPORTED_ARCH": "arm64"})
    process.start()
    try:
        wait_until(lambda: _healthy(metrics), f"{url} to be healthy, see {home}/log", 15, 0.02)
        yield url
    finally:
        process.kill()


def _healthy(metrics: str) -> bool:
    try:
        with urllib.request.urlopen(f"{metrics}/health", timeout=1) as answer:
            return b"true" in answer.read()
    except urllib.error.HTTPError:
        return False
