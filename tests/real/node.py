"""One node: an agent with its PostgreSQL on a host, to be started, hurt and asked."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import yaml

from tests.real.hosts import Host
from tests.real.http import Reply, request
from tests.real.processes import Process, alive, descendants, kill_all, program_of, signal_all
from tests.real.programs import AgentProgram
from tests.real.settings import PASSWORD, SUPERUSER, ClusterSettings, NodePlace, node_config
from tests.real.waiting import wait_until


@dataclass(eq=False)
class Node:
    """A node of a trial."""

    host: Host
    place: NodePlace
    settings: ClusterSettings
    etcd: list[str]
    program: AgentProgram
    user: str | None = "postgres"
    tags: dict[str, Any] = field(default_factory=dict)
    sections: dict[str, Any] = field(default_factory=dict)
    """More for the sections of this node's own file."""
    agent: Process | None = None

    @property
    def name(self) -> str:
        """The member name."""
        return self.place.name

    @property
    def data(self) -> str:
        """PostgreSQL's data directory, as an argument."""
        return str(self.place.data_dir)

    @property
    def log(self) -> Path:
        """What agent and PostgreSQL say on their outputs."""
        return self.place.directory / "agent.log"

    @property
    def config_file(self) -> Path:
        """The agent's YAML file."""
        return self.place.directory / "haagent.yml"

    def prepare(self) -> None:
        """Make the directory and write the configuration."""
        self.place.directory.mkdir(parents=True, exist_ok=True)
        self.write_config()
        self.own(self.place.directory)

    def own(self, path: Path) -> None:
        """Give a directory to the user that runs the agent."""
        if self.user is not None and os.geteuid() == 0:
            shutil.chown(path, self.user, pwd.getpwnam(self.user).pw_gid)

    def write_config(self) -> None:
        """Write the YAML file anew from what is set here; an agent that is just reading it never sees half of it."""
        content = node_config(self.settings, self.place, self.etcd, self.tags)
        for name, section in self.sections.items():
            content[name] = {**content.get(name, {}), **section}
        fresh = self.config_file.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(content, sort_keys=False))
        fresh.chmod(0o600)
        self.own(fresh)
        fresh.replace(self.config_file)

    def reconfigure(self, **changes: Any) -> None:
        """Change the cluster settings this node is given, and write the file."""
        self.settings = replace(self.settings, **changes)
        self.write_config()

    # --- the agent ---------------------------------------------------------------------------------------------

    def start(self, output: int | None = None) -> None:
        """Start the agent; what it did before stays in the log, unless it is to write to that descriptor."""
        argv = self.host.command([*self.program.argv, str(self.config_file)], self.user)
        environment = {"HOME": str(self.place.directory), "LANG": "C.UTF-8", **self.host.environment()}
        self.agent = Process(argv, self.log, environment)
        self.agent.start(output)

    def stop(self, timeout_s: float = 30) -> int:
        """Ask the agent to end in good order; its exit code."""
        assert self.agent is not None
        return self.agent.stop(timeout_s)

    def kill_agent(self) -> None:
        """SIGKILL the agent alone; its guard and PostgreSQL live on."""
        assert self.agent is not None
        self.agent.kill()

    def freeze_agent(self) -> None:
        """SIGSTOP the agent alone."""
        assert self.agent is not None
        self.agent.send(signal.SIGSTOP)

    def thaw_agent(self) -> None:
        """SIGCONT."""
        assert self.agent is not None
        self.agent.send(signal.SIGCONT)

    def reload(self) -> None:
        """SIGHUP."""
        assert self.agent is not None
        self.agent.send(signal.SIGHUP)

    @property
    def agent_runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self.agent is not None and self.agent.running

    def last_words(self) -> str:
        """The end of its log."""
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-3:]) if self.log.exists() else "nothing"

    def helpers(self) -> set[int]:
        """The agent and what runs beside it that is neither PostgreSQL nor etcd: what a node costs."""
        tree = self.pids()
        return {pid for pid in tree if program_of(pid).startswith("python")}

    def guard_pid(self) -> int | None:
        """The process id of its guard, if there is one."""
        for pid in self.host.pids():
            with contextlib.suppress(OSError):
                if b"haagent.guard" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    # --- PostgreSQL --------------------------------------------------------------------------------------------

    def postmaster_pid(self) -> int | None:
        """The postmaster's process id, if one lives."""
        try:
            pid = int((self.place.data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if alive(pid) and program_of(pid) == "postgres" else None

    def kill_postmaster(self) -> int:
        """SIGKILL the postmaster alone, as the kernel does when memory runs out; which one it was."""
        pid = self.postmaster_pid()
        assert pid is not None, f"{self.name} has no postmaster"
        os.kill(pid, signal.SIGKILL)
        return pid

    @contextlib.contextmanager
    def connect(self, user: str = SUPERUSER) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection as superuser from this host; OSError when there is none to be had."""
        try:
            with self.host.inside():
                connection = psycopg.connect(
                    host=self.place.address,
                    port=self.place.postgres_port,
                    user=user,
                    password=PASSWORD,
                    dbname="postgres",
                    connect_timeout=3,
                    autocommit=True,
                )
        except psycopg.OperationalError as error:
            raise OSError(str(error)) from error
        with connection:
            yield connection

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; OSError when PostgreSQL can't be reached."""
        with self.connect() as connection:
            try:
                cursor = connection.execute(query)
                return list(cursor.fetchall()) if cursor.description else []
            except psycopg.OperationalError as error:
                raise OSError(str(error)) from error

    # --- the host ----------------------------------------------------------------------------------------------

    def pids(self) -> set[int]:
        """Every process of the node; of one on loopback too, where PostgreSQL has left the agent's family."""
        known = self.host.pids()
        postmaster = self.postmaster_pid()
        return known | descendants({postmaster}) if postmaster else known

    def power_off(self) -> None:
        """The cable first, then every process at one stroke: nobody hears a farewell."""
        self.host.unplug()
        while left := set(filter(alive, self.pids())):  # a process may have been forked while they were counted
            kill_all(left)
        self.reap()

    def power_on(self) -> None:
        """The cable back, and the agent started as at boot."""
        self.host.plug()
        self.start()

    def end(self) -> None:
        """End everything for good, PostgreSQL first asked so that it leaves no shared memory."""
        if self.agent_runs:
            kill_all(self.pids() & self.helpers())
        postmaster = self.postmaster_pid()
        if postmaster:
            signal_all([postmaster], signal.SIGCONT)
            signal_all([postmaster], signal.SIGQUIT)
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not alive(postmaster), "an immediate shutdown", 2)
        kill_all(self.pids())
        self.reap()

    def reap(self) -> None:
        """Take note of the agent's end."""
        if self.agent is not None:
            self.agent.reap(5)

    # --- REST --------------------------------------------------------------------------------------------------

    def rest(self, method: str, path: str, body: object = None, timeout_s: float = 2) -> Reply:
        """Ask the agent, from its own host."""
        return request(self.host, self.place.address, self.place.rest_port, method, path, body, timeout_s)

    def status(self) -> dict[str, Any]:
        """GET /patroni; empty when the agent does not answer."""
        reply = self.rest("GET", "/patroni")
        return dict(reply.json) if reply.status == 200 else {}

    def metric(self, name: str) -> float:
        """The value of one of its metrics, of whatever labels; OSError when the agent does not answer."""
        reply = self.rest("GET", "/metrics")
        if reply.status != 200:
            raise OSError(f"{self.name} answers {reply.status} to GET /metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in reply.text.splitlines() if line.startswith(name + "{"))
