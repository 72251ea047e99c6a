"""What the service manager hears."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from haagent.host.systemd import Notifier


def heard(listener: socket.socket) -> dict[str, str]:
    lines = listener.recv(4096).decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_service_manager_is_told_at_a_path_and_at_an_abstract_name(tmp_path: Path) -> None:
    for name in (str(tmp_path / "notify"), f"@haagent-test-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.settimeout(2)
            listener.bind("\0" + name[1:] if name.startswith("@") else name)
            notifier = Notifier({"NOTIFY_SOCKET": name})
            notifier.ready("primary: it leads")
            assert heard(listener) == {"READY": "1", "STATUS": "primary: it leads"}
            notifier.reloading()
            assert heard(listener)["MONOTONIC_USEC"].isdigit()
            notifier.alive("standby: it follows the leader")
            assert heard(listener)["WATCHDOG"] == "1"
            notifier.stopping()
            assert heard(listener) == {"STOPPING": "1"}


def test_without_a_service_manager_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


def test_the_watchdog_of_another_process_is_not_ours() -> None:
    assert Notifier({"WATCHDOG_USEC": "30000000"}).watchdog_s == 30
    assert Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s is None
