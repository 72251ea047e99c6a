"""The container files, as far as they can be judged without an engine: do they fit each other, and do as they say."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from haagent.config.load import load

ROOT = Path(__file__).parents[2]
HERE = ROOT / "docker"
SCRIPTS = ("node.sh", "adapt.sh", "pgbouncer.sh")
WITHIN_S = 15.0


def compose() -> dict[str, Any]:
    found = yaml.safe_load((HERE / "compose.yml").read_text())
    assert isinstance(found, dict)
    return found


def addresses(prefix: str) -> dict[str, str]:
    services = compose()["services"].items()
    return {name: one["networks"]["trial"]["ipv4_address"] for name, one in services if name.startswith(prefix)}


def adapted(to: Path) -> tuple[str, str]:
    """HAProxy's and PgBouncer's files as the image has them."""
    subprocess.run([HERE / "adapt.sh", ROOT / "config", to], check=True)
    return (to / "haproxy.cfg").read_text(), (to / "pgbouncer.ini").read_text()


# --- the files fit each other ---


def test_what_is_copied_and_built_exists() -> None:
    text = (HERE / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert [word for word in copied if not word.startswith("--") and not (ROOT / word).exists()] == []
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE))
    assert {one["build"]["target"] for one in compose()["services"].values()} <= stages
    for script in SCRIPTS:
        assert os.access(HERE / script, os.X_OK)
        assert script in text


def test_no_password_stands_in_a_file() -> None:
    said = compose()["services"]
    environments = [one.get("environment", {}) for one in said.values()]
    secrets = [value for env in environments for name, value in env.items() if name.endswith("PASSWORD")]
    assert len(secrets) == 3 * 4 + 1
    assert all(value.startswith("${TRIAL_PASSWORD:?") for value in secrets)


@pytest.mark.parametrize("node", ["node1", "node2", "node3"])
def test_a_nodes_configuration_is_valid_with_its_environment(node: str) -> None:
    environment = {key: str(value) for key, value in compose()["services"][node]["environment"].items()}
    config = load(str(HERE / "node.yml"), environment, strict=True)
    assert config.warnings == ()
    assert config.name == node
    assert config.me().api_url.startswith(f"http://{addresses('node')[node]}:8008")
    assert config.me().conn_url.startswith(f"postgres://{addresses('node')[node]}:5432")
    assert sorted(config.endpoints) == [f"http://{name}:2379" for name in sorted(addresses("etcd"))]
    volume = compose()["services"][node]["volumes"][0].partition(":")[2]
    assert str(Path(config.postgresql.data_dir).parent) == volume, "the data directory itself is no mount point"
    assert f"VOLUME {volume}\n" in (HERE / "Dockerfile").read_text()


def test_haproxy_looks_where_the_nodes_are(tmp_path: Path) -> None:
    text, _ = adapted(tmp_path)
    for name, address in addresses("node").items():
        assert text.count(f"server {name} {address}:5432 check port 8008") == 2
    settings = "\n".join(line for line in text.splitlines() if not line.strip().startswith("#"))
    assert not re.search(r"\b10\.0\.0\.|127\.0\.0\.1|/dev/log|^ *(user|group) ", settings, re.MULTILINE)
    if shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin"):
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") or ""
        checked = tmp_path / "checked.cfg"
        checked.write_text(text.replace("/run/haproxy", str(tmp_path)))
        found = subprocess.run([program, "-c", "-f", checked], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr


def test_pgbouncer_asks_haproxy_and_touches_no_file_of_the_system(tmp_path: Path) -> None:
    _, text = adapted(tmp_path)
    settings = dict(re.findall(r"^(\w+|\*) =[ \t]*(.*)$", text, re.MULTILINE))
    assert settings["*"] == "host=haproxy port=5000"
    assert settings["postgres_ro"].startswith("host=haproxy port=5001")
    assert (settings["listen_addr"], settings["unix_socket_dir"]) == ("*", "")
    assert settings["auth_file"] in (HERE / "pgbouncer.sh").read_text()
    assert not {"logfile", "pidfile"} & settings.keys()


# --- the entry point does as it says ---

AGENT = """
trap 'echo asked >>{log}; sleep 0.3; exit {code}' TERM
trap 'echo reload >>{log}' HUP
echo "began $$" >>{log}
while :; do sleep 0.05; done
"""


class Container:
    """``node.sh`` with a small program in the agent's place."""

    def __init__(self, directory: Path, code: int = 0) -> None:
        self.log = directory / "log"
        program = directory / "agent.sh"
        program.write_text(AGENT.format(log=self.log, code=code))
        self.process = subprocess.Popen(
            [HERE / "node.sh", "bash", program], start_new_session=True, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, lines: int) -> list[str]:
        until = time.monotonic() + WITHIN_S
        while time.monotonic() < until:
            said = self.log.read_text().splitlines() if self.log.exists() else []
            if len(said) >= lines:
                return said
            time.sleep(0.02)
        raise AssertionError(f"{lines} lines were not said within {WITHIN_S:g} s")

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.mark.parametrize("code", [0, 1])
def test_the_agent_is_asked_to_stop_and_its_exit_code_is_the_containers(tmp_path: Path, code: int) -> None:
    container = Container(tmp_path, code)
    try:
        container.wait_for(1)
        container.process.send_signal(signal.SIGHUP)
        assert container.wait_for(2)[1] == "reload"
        container.process.send_signal(signal.SIGTERM)
        assert container.process.wait(WITHIN_S) == code
        assert container.wait_for(3)[2] == "asked"
    finally:
        container.end()


def test_a_killed_agent_is_started_again(tmp_path: Path) -> None:
    container = Container(tmp_path)
    try:
        (first,) = container.wait_for(1)
        os.kill(int(first.split()[1]), signal.SIGKILL)
        second = container.wait_for(2)[1]
        assert second.startswith("began")
        assert second != first
        container.process.send_signal(signal.SIGTERM)
        assert container.process.wait(WITHIN_S) == 0
        assert container.process.stderr is not None
        assert "killed by signal 9" in container.process.stderr.read()
    finally:
        container.end()


def test_an_agent_that_ends_by_itself_ends_the_container(tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = subprocess.run(
        [HERE / "node.sh", "bash", "-c", f"echo once >>{log}; exit 3"], timeout=WITHIN_S, check=False
    )
    assert (found.returncode, log.read_text()) == (3, "once\n")
