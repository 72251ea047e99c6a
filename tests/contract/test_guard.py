"""The guard process and its client, on real processes: PostgreSQL under load, agents killed, guards frozen."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from haagent.core.terms import Instant, Term
from haagent.guard import wire
from haagent.guard.client import GUARD, GuardClient, address
from haagent.ports import Refused, Unknown, Unreachable
from haagent.postgres.process import serving
from tests.contract.server import USER, Server
from tests.real import waiting
from tests.real.hosts import as_user
from tests.real.processes import alive, signal_all

ROOT = Path(__file__).parents[2]
KILL_TIME_S = 0.3
GONE_WITHIN_S = 2.0
"""The bound for a busy tree, from the permit's end: generous, since a bench measures what a quiet machine needs."""
TERM = Term(7)
PARTS = ("main.py", "tree.py", "watch.py", "wire.py")
AGENT = """
    import asyncio, sys
    from pathlib import Path
    from haagent.guard.client import GuardClient
    from tests.contract.test_guard import RealClock

    async def agent(data_dir, state_dir, permit_s, arms):
        guard = GuardClient(Path(data_dir), Path(state_dir), 0.3, RealClock())
        await guard.ensure(5)
        for _ in range(int(arms)):
            await guard.arm(7, guard.clock.now() + float(permit_s), 1)
        print(guard.facts().permit_until, flush=True)
        await asyncio.sleep(60)

    asyncio.run(agent(*sys.argv[1:]))
"""


class RealClock:
    def now(self) -> Instant:
        return Instant(waiting.now())

    def wall(self) -> float:
        raise AssertionError("no deadline is counted by the wall clock")


def in_seconds(seconds: float) -> Instant:
    return Instant(waiting.now() + seconds)


async def until(condition: Callable[[], object], what: str, timeout_s: float) -> float:
    """Wait without blocking the client; the instant at which it was true."""
    deadline = waiting.now() + timeout_s
    while not condition():
        assert waiting.now() < deadline, f"waited {timeout_s:g} s in vain for {what}"
        await asyncio.sleep(0.005)
    return waiting.now()


@pytest_asyncio.fixture
async def guard(server: Server) -> AsyncIterator[GuardClient]:
    """A connected client; its guard ends with the test."""
    client = GuardClient(server.data_dir, server.home, KILL_TIME_S, RealClock())
    await client.ensure(5)
    yield client
    if client.pid is not None:
        os.kill(client.pid, signal.SIGCONT)
    await client.quit(2)


@pytest.fixture
def loaded(server: Server) -> Server:
    """Eight clients committing as fast as they can."""
    server.start()
    server.load(8)
    return server


def guard_pid(guard: GuardClient) -> int:
    assert guard.pid is not None
    return guard.pid


async def test_when_the_permit_ends_the_busy_tree_is_gone(loaded: Server, guard: GuardClient) -> None:
    permit_until = in_seconds(2)
    await guard.arm(TERM, permit_until, 1)
    assert guard.facts().armed
    assert guard.facts().permit_until == permit_until
    await asyncio.sleep(0.7)
    busy = loaded.members()
    assert len(busy) >= 13, "a postmaster, its helpers and eight backends work until the end of the permit"
    gone_at = await until(lambda: not loaded.members(), "the end of the tree", 5)
    assert 0 <= gone_at - permit_until < GONE_WITHIN_S
    await until(lambda: guard.facts().fired, "the report", 5)
    await until(guard.marker.exists, "the marker", 5)
    report = json.loads(guard.marker.read_text())
    assert report["term"] == TERM
    assert report["processes"] >= len(busy)
    assert 0 < report["took_ms"] < GONE_WITHIN_S * 1000
    assert "permit of term 7 ended" in report["reason"]
    assert guard.marker.stat().st_mode & 0o777 == 0o600


async def test_extended_in_time_nothing_happens(loaded: Server, guard: GuardClient) -> None:
    await guard.arm(TERM, in_seconds(1.5), 1)
    for _ in range(12):
        await asyncio.sleep(0.2)
        guard.extend(TERM, in_seconds(1.5))
    assert len(loaded.members()) >= 13
    assert guard.facts().fired is None
    await guard.disarm(TERM, 1)
    await asyncio.sleep(1.7)
    assert len(loaded.members()) >= 13, "a disarmed guard enforces nothing"


def agent(server: Server, permit_s: float, arms: int, stderr: int | None = None) -> subprocess.Popen[str]:
    argv = [
        sys.executable,
        "-c",
        textwrap.dedent(AGENT),
        str(server.data_dir),
        str(server.home),
        str(permit_s),
        str(arms),
    ]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)


async def test_the_agents_death_changes_nothing_until_the_permit_ends(loaded: Server) -> None:
    with agent(loaded, permit_s=4, arms=1) as process:
        assert process.stdout is not None
        permit_until = float(process.stdout.readline())
        process.kill()
    await asyncio.sleep(0.5)
    assert len(loaded.members()) >= 13
    successor = GuardClient(loaded.data_dir, loaded.home, KILL_TIME_S, RealClock())
    await successor.ensure(3)
    facts = successor.facts()
    assert (facts.term, facts.permit_until) == (TERM, permit_until), "a new agent finds the same guard and permit"
    gone_at = await until(lambda: not loaded.members(), "the end of the tree", 10)
    assert 0 <= gone_at - permit_until < GONE_WITHIN_S
    await successor.quit(2)


async def test_a_full_log_pipe_delays_no_fencing(server: Server) -> None:
    server.start()
    with agent(server, permit_s=3, arms=3000, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        permit_until = float(process.stdout.readline())
        gone_at = await until(lambda: not server.members(), "the end of the tree", 10)
        assert 0 <= gone_at - permit_until < GONE_WITHIN_S
        process.kill()
    successor = GuardClient(server.data_dir, server.home, KILL_TIME_S, RealClock())
    await successor.ensure(5)
    await successor.quit(2)


async def test_frozen_past_the_deadline_it_kills_at_once_when_thawed(loaded: Server, guard: GuardClient) -> None:
    await guard.arm(TERM, in_seconds(1), 1)
    os.kill(guard_pid(guard), signal.SIGSTOP)
    await asyncio.sleep(1.5)
    assert len(loaded.members()) >= 13
    thawed_at = waiting.now()
    os.kill(guard_pid(guard), signal.SIGCONT)
    gone_at = await until(lambda: not loaded.members(), "the end of the tree", 5)
    assert gone_at - thawed_at < GONE_WITHIN_S


async def test_thawed_it_first_hears_what_was_told_meanwhile(loaded: Server, guard: GuardClient) -> None:
    await guard.arm(TERM, in_seconds(1), 1)
    os.kill(guard_pid(guard), signal.SIGSTOP)
    await asyncio.sleep(0.4)
    guard.extend(TERM, in_seconds(60))
    await asyncio.sleep(1.1)
    os.kill(guard_pid(guard), signal.SIGCONT)
    await until(lambda: (guard.facts().permit_until or 0) > in_seconds(5), "the extension", 5)
    await asyncio.sleep(0.2)
    assert len(loaded.members()) >= 13
    assert guard.facts().fired is None


async def test_a_frozen_guard_is_replaced_by_one_that_holds_the_permit(loaded: Server, guard: GuardClient) -> None:
    frozen = guard_pid(guard)
    permit_until = in_seconds(8)
    await guard.arm(TERM, permit_until, 1)
    os.kill(frozen, signal.SIGSTOP)
    for _ in range(2000):
        guard.extend(TERM, permit_until)
    assert waiting.now() < permit_until - 5, "telling a frozen guard something blocks nobody"
    await guard.ensure(5)
    assert not alive(frozen)
    assert guard_pid(guard) != frozen
    assert (guard.facts().term, guard.facts().permit_until) == (TERM, permit_until)
    gone_at = await until(lambda: not loaded.members(), "the end of the tree", 15)
    assert 0 <= gone_at - permit_until < GONE_WITHIN_S


async def test_the_guards_death_is_known_at_once_and_its_successor_is_armed(server: Server, guard: GuardClient) -> None:
    heard: list[str] = []
    guard.on_change(heard.append)
    permit_until = in_seconds(60)
    await guard.arm(TERM, permit_until, 1)
    os.kill(guard_pid(guard), signal.SIGKILL)
    killed_at = waiting.now()
    seen_at = await until(lambda: heard, "the news of its death", 5)
    assert seen_at - killed_at < 1
    assert heard == ["the guard is gone"]
    assert not guard.facts().alive
    with pytest.raises(Unreachable, match="is not there"):
        await guard.arm(TERM, permit_until, 1)
    await guard.ensure(5)
    assert guard.facts().alive
    assert guard.facts().permit_until == permit_until


async def test_orphans_of_a_dead_postmaster_and_stopped_ones_are_killed(loaded: Server, guard: GuardClient) -> None:
    postmaster = loaded.postmaster
    os.kill(postmaster, signal.SIGSTOP)  # so that none is forked while they are counted
    backends = sorted(loaded.members() - {postmaster})
    signal_all(backends, signal.SIGSTOP)
    os.kill(postmaster, signal.SIGKILL)
    await until(lambda: not alive(postmaster), "the postmaster's end", 5)
    assert loaded.members() == set(filter(alive, backends)), "orphans are found without their postmaster"
    signal_all(backends[1:], signal.SIGCONT)
    await guard.kill("a test", 5)
    assert not loaded.members()
    fired = guard.facts().fired
    assert fired is not None
    assert fired.reason == "a test"


@pytest.mark.parametrize("mounted", ["data", "."])
async def test_a_file_system_unmounted_under_its_server_hides_none_of_it(server: Server, mounted: str) -> None:
    """Fault 51: the kernel then names only a part of the working directory."""
    at = str((server.home / mounted).resolve())
    subprocess.run(["mount", "--bind", at, at], check=True, timeout=10)
    try:
        server.start()
        server.load(4)
        before = server.members()
    finally:
        subprocess.run(["umount", "-l", at], check=True, timeout=10)
    assert os.readlink(f"/proc/{server.postmaster}/cwd") == ("/" if mounted == "data" else "/data")
    found = server.members()
    assert {pid for pid in before if alive(pid)} <= found, "some may have ended meanwhile, as autovacuum's workers do"
    assert serving(server.data_dir) == [server.postmaster]
    guard = GuardClient(server.data_dir, server.home, KILL_TIME_S, RealClock())
    await guard.ensure(5)
    await guard.arm(TERM, in_seconds(0.2), 1)
    await until(lambda: not any(map(alive, before)), "the end of the tree", 5)
    await guard.quit(2)


async def test_a_stopped_postmaster_protects_nobody(loaded: Server, guard: GuardClient) -> None:
    postmaster = loaded.postmaster
    os.kill(postmaster, signal.SIGSTOP)
    permit_until = in_seconds(0.2)
    await guard.arm(TERM, permit_until, 1)
    gone_at = await until(lambda: not loaded.members(), "the end of the tree", 5)
    assert gone_at - permit_until < GONE_WITHIN_S


async def test_having_fired_it_lets_nothing_start_until_cleared(server: Server, guard: GuardClient) -> None:
    server.start()
    await guard.kill("a test", 5)
    server.start(answering=False)
    started = server.children[-1]
    await until(lambda: started.poll() is not None, "the end of what was started on a fenced node", 10)
    await until(lambda: not server.members(), "the end of its children", 5)
    with pytest.raises(Refused, match="only a start as standby clears that"):
        await guard.arm(TERM, in_seconds(60), 1)
    await guard.quit(2)
    await guard.ensure(5)
    fired = guard.facts().fired
    assert fired is not None
    assert fired.reason == "a test", "a new guard finds the marker"
    await guard.clear(1)
    await until(lambda: not guard.marker.exists(), "the end of the marker", 5)
    server.start()
    await asyncio.sleep(1.2)
    assert server.members()
    assert guard.facts().fired is None


async def test_an_unreadable_marker_counts_as_fenced(server: Server, guard: GuardClient) -> None:
    await guard.quit(2)
    guard.marker.write_text("")
    await guard.ensure(5)
    fired = guard.facts().fired
    assert fired is not None
    assert "is not readable" in fired.reason


async def test_the_marker_is_written_when_the_disk_lets_it(server: Server) -> None:
    state_dir = server.home / "state"
    guard = GuardClient(server.data_dir, state_dir, KILL_TIME_S, RealClock())
    await guard.ensure(5)
    await guard.kill("a test", 5)
    assert guard.facts().fired is not None
    state_dir.mkdir()
    await until(guard.marker.exists, "the marker", 10)
    await guard.quit(2)


async def test_an_old_term_is_refused(server: Server, guard: GuardClient) -> None:
    permit_until = in_seconds(60)
    await guard.arm(TERM, permit_until, 1)
    old = Term(TERM - 1)
    with pytest.raises(Refused, match="term 6 is older than term 7"):
        await guard.arm(old, in_seconds(90), 1)
    with pytest.raises(Refused, match="term 6 is older than term 7"):
        await guard.disarm(old, 1)
    guard.extend(old, in_seconds(90))
    await guard.ensure(1)
    assert guard.facts().permit_until == permit_until


async def test_there_are_never_two_guards_of_one_directory(server: Server, guard: GuardClient) -> None:
    other_way = server.home / "link"
    other_way.symlink_to(server.data_dir)
    second = GuardClient(other_way, server.home, KILL_TIME_S, RealClock())
    await second.ensure(2)
    assert second.pid == guard.pid
    second.close()
    argv = [sys.executable, "-I", "-S", "-c", GUARD, str(ROOT), guard.address, str(server.data_dir), str(guard.marker)]
    assert subprocess.run([*argv, "0.3", "0", ""], check=False).returncode == wire.TAKEN


async def test_another_user_is_not_listened_to(server: Server, guard: GuardClient) -> None:
    stranger = textwrap.dedent(f"""
        import socket
        guard = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        guard.connect("\\0{guard.address}")
        try:
            guard.send({wire.request(1, "kill", reason="malice")!r})
            answer = guard.recv(4096)
        except ConnectionError:
            answer = b""
        assert answer == b"", answer
    """)
    subprocess.run(as_user(["/usr/bin/python3", "-c", stranger], USER), check=True, timeout=10)
    await guard.ensure(1)
    assert guard.facts().fired is None


async def test_another_user_cannot_pose_as_the_guard(server: Server) -> None:
    name = address(server.data_dir)
    pose = f"import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind('\\0{name}'); "
    pose += "s.listen(); print(flush=True); s.accept()"
    argv = as_user(["/usr/bin/python3", "-c", pose], USER)
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        stranger.stdout.readline()
        with pytest.raises(Refused, match=f"process {stranger.pid} of user .* holds the guard's name"):
            await GuardClient(server.data_dir, server.home, KILL_TIME_S, RealClock()).ensure(2)
        stranger.kill()


async def test_asked_politely_it_ends_only_while_nothing_depends_on_it(server: Server, guard: GuardClient) -> None:
    await guard.arm(TERM, in_seconds(60), 1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(guard_pid(guard), number)
    await asyncio.sleep(0.2)
    await guard.ensure(1)
    assert guard.facts().armed
    await guard.disarm(TERM, 1)
    os.kill(guard_pid(guard), signal.SIGTERM)
    await until(lambda: not guard.facts().alive, "its end", 5)


async def test_a_frozen_guard_leaves_an_order_unknown(server: Server, guard: GuardClient) -> None:
    os.kill(guard_pid(guard), signal.SIGSTOP)
    with pytest.raises(Unknown, match=r"did not answer to arm within 0\.2 s"):
        await guard.arm(TERM, in_seconds(60), 0.2)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def permitted(program: str) -> bool:
    """Whether this user may do that here: a container's root may not do all that root may."""
    return subprocess.run([sys.executable, "-c", program], stderr=subprocess.DEVNULL, check=False).returncode == 0


async def test_where_permitted_it_is_the_last_to_go_and_the_first_to_run(server: Server, guard: GuardClient) -> None:
    pid = guard_pid(guard)
    assert int(status_of(pid)["VmLck"].split()[0]) > 4 * 1024, "its memory is locked"
    lowered = Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "-1000"
    assert lowered is permitted("import os; os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'-1000')")
    urgent = os.sched_getscheduler(pid) == os.SCHED_RR
    assert urgent is permitted("import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))")


async def test_where_nothing_is_permitted_it_says_so_once_and_kills_all_the_same(server: Server) -> None:
    """As an ordinary user without the rights that the service unit gives, and of this project only its own files."""
    server.start()
    place, marker, log = server.home / "haagent" / "guard", server.home / "marker", server.home / "guard.log"
    place.mkdir(parents=True)
    for part in ("__init__.py", *PARTS):
        shutil.copy(ROOT / "haagent" / "guard" / part, place)
    (place.parent / "__init__.py").touch()
    subprocess.run(["chown", "-R", USER, str(place.parent)], check=True)
    name = address(server.home)
    argv = ["/usr/bin/python3", "-I", "-S", "-c", GUARD, str(server.home), name, str(server.data_dir), str(marker)]
    bare = ["prlimit", "--memlock=0:0", "--rtprio=0:0", "--", *argv, "0.3", "7", repr(waiting.now() + 1)]
    with log.open("w") as out:
        subprocess.run(as_user(bare, USER), stderr=out, check=True, cwd="/")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as agent:
        agent.connect("\0" + name)
        pid, _ = wire.peer(agent)
    await until(lambda: not server.members(), "the end of the tree", 5)
    await until(lambda: "fenced" in log.read_text() and marker.exists(), "its last words", 10)
    os.kill(pid, signal.SIGKILL)
    said, report = log.read_text(), json.loads(marker.read_text())
    for lack in ("memory not locked", "OOM score not lowered", "no real-time priority"):
        assert said.count(lack) == 1, said
    told = re.search(r"(\d+) processes ended in (\d+) ms", said)
    assert told is not None, said
    assert int(told[1]) == report["processes"]
    assert abs(int(told[2]) - report["took_ms"]) <= 1, "the two are rounded differently"
    assert report["processes"] >= 6


async def test_a_busy_tree_with_much_shared_memory_is_gone_as_fast(server: Server, guard: GuardClient) -> None:
    """Eight sessions committing over 1 GB of shared buffers, of which much is in use: what ends is also torn down."""
    server.configure({"shared_buffers": "1GB", "max_wal_size": "4GB"})
    server.start()
    server.sql("CREATE UNLOGGED TABLE ballast AS SELECT repeat('x', 1000) AS text FROM generate_series(1, 200000)")
    server.load(8)
    permit_until = in_seconds(1)
    await guard.arm(TERM, permit_until, 1)
    gone_at = await until(lambda: not server.members(), "the end of the tree", 10)
    assert 0 <= gone_at - permit_until < 2 * GONE_WITHIN_S


async def test_it_is_small_stands_alone_and_survives_nonsense(server: Server, guard: GuardClient) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as noise:
        noise.connect("\0" + guard.address)
        for packet in (b"nonsense", b"[" * 4000, b'[1, "arm", 9, NaN, ""]', b"{}"):
            noise.send(packet)
            assert json.loads(noise.recv(wire.MAX_BYTES))["term"] == 0
    process, status = Path(f"/proc/{guard_pid(guard)}"), status_of(guard_pid(guard))
    assert int(status["VmRSS"].split()[0]) < 12 * 1024
    assert int(status["PPid"]) != os.getpid(), "nobody's child, so that no agent can leave it unreaped or take it along"
    assert os.readlink(process / "cwd") == "/"
    lines = [line for part in PARTS for line in (ROOT / "haagent/guard" / part).read_text().splitlines() if line]
    assert len(lines) < 400, "small enough to be read as a whole"
