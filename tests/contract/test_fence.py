"""The commit fence in real servers: what it refuses, what it withholds, and all that must go on as without it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from haagent.guard.page import PAGE_BYTES, SLOT_BYTES, Page
from tests.contract.fence import LONG_S, TERM, Fenced, build, under_fence
from tests.contract.server import PORT, USER, Server, copy_of
from tests.real.hosts import as_user
from tests.real.waiting import now, wait_until

INSERT = "INSERT INTO pgbench_history (tid) VALUES (1)"


@pytest.fixture(scope="session")
def library() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="haagent-fence-"))
    place.chmod(0o755)
    yield build(place)
    shutil.rmtree(place)


@pytest.fixture
def pageless(data_template: Path, library: Path) -> Iterator[Fenced]:
    """Started without a page."""
    with under_fence(data_template, library) as fenced:
        fenced.server.start()
        yield fenced


@pytest.fixture
def fenced(data_template: Path, library: Path) -> Iterator[Fenced]:
    """Started with a permit that outlasts the test."""
    with under_fence(data_template, library) as fenced:
        fenced.permit()
        fenced.server.start()
        yield fenced


def refused(client: psycopg.Connection[tuple[object, ...]], query: LiteralString) -> psycopg.Error:
    """The refusal that a query meets."""
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="commit refused") as caught:
        client.execute(query)
    return caught.value


# --- the permit ---------------------------------------------------------------------------------------------------


def test_commits_pass_until_the_permit_ends_and_again_after_the_next(fenced: Fenced) -> None:
    with fenced.server.connect() as client:
        fenced.permit(2)
        client.execute(INSERT)
        wait_until(lambda: fenced.state()["permit"] == "over", "the permit's end", 10)
        error = refused(client, INSERT)
        assert error.sqlstate == "25006"
        assert "this node's permit to accept commits ended" in str(error)
        assert error.diag.message_detail == f"The permit belonged to term {TERM}. The transaction was rolled back."
        assert "haagent-ctl list" in (error.diag.message_hint or "")
        assert client.execute("SELECT count(*) FROM pgbench_history").fetchall() == [(1,)]
        fenced.permit(term=TERM + 1)
        client.execute(INSERT)
    state = fenced.state()
    assert (state["permit"], state["term"], state["refused"]) == ("held", TERM + 1, 1)
    assert 0 < state["left_ms"] <= LONG_S * 1000
    assert fenced.count() == 2


def test_a_permit_without_end_is_held(fenced: Fenced) -> None:
    fenced.permit(float("inf"))
    fenced.server.sql(INSERT)
    assert fenced.state()["permit"] == "without end"


WRITES: list[LiteralString] = [
    INSERT,
    "CREATE TABLE another (n int)",
    "CREATE DATABASE another",
    "DROP DATABASE spare",
    "ALTER DATABASE spare CONNECTION LIMIT 1",
    "CREATE TABLESPACE another LOCATION '/tmp'",
    "CREATE INDEX CONCURRENTLY another ON pgbench_history (tid)",
    "SELECT nextval('numbers')",
    "SELECT txid_current()",
    "CREATE TEMP TABLE another (n int)",
    "DO $$BEGIN INSERT INTO pgbench_history (tid) VALUES (1); COMMIT; END$$",
    "COPY pgbench_history (tid) FROM PROGRAM 'echo 1'",
    "BEGIN; INSERT INTO pgbench_history (tid) VALUES (1); PREPARE TRANSACTION 'late'",
    "COMMIT PREPARED 'early'",
    "ROLLBACK PREPARED 'early'",
]


def test_past_the_permit_nothing_that_writes_commits_and_reading_goes_on(fenced: Fenced) -> None:
    with fenced.server.connect() as client:
        client.execute("CREATE SEQUENCE numbers")
        client.execute("CREATE DATABASE spare")
        client.execute(f"BEGIN; {INSERT}; PREPARE TRANSACTION 'early'")
        fenced.refuse()
        for write in WRITES:
            refused(client, write)
        client.execute("SELECT abalance FROM pgbench_accounts LIMIT 1")
        client.execute("VACUUM pgbench_branches")
        assert client.execute("SELECT gid FROM pg_prepared_xacts").fetchall() == [("early",)]
        fenced.permit()
        client.execute("COMMIT PREPARED 'early'")
        client.execute("CREATE DATABASE copy TEMPLATE spare")
    assert fenced.count() == 1
    assert fenced.state()["refused"] == len(WRITES)


def test_a_notification_past_the_permit_is_not_acknowledged(fenced: Fenced) -> None:
    # It gets its xid after the check before the record.
    fenced.refuse()
    with fenced.server.connect() as client, pytest.raises(psycopg.OperationalError, match="closed the connection"):
        client.execute("NOTIFY news")
    assert fenced.state()["late"] == 1


# --- the page -----------------------------------------------------------------------------------------------------


def owned_by_a_stranger(path: Path) -> None:
    os.chown(path, 65534, 65534)


def replaced_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def written_before_the_last_boot(path: Path) -> None:
    page = Page(path)
    page._boot_id = bytes(16)
    page.permit(TERM, now() + LONG_S)
    page.permit(TERM, now() + LONG_S)
    page.close()


BAD_PAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (lambda path: path.unlink(), "No such file or directory"),
    "too short": (lambda path: os.truncate(path, 100), "it is too short"),
    "writable by others": (lambda path: path.chmod(0o666), "others may write to it"),
    "of a stranger": (owned_by_a_stranger, "it belongs to another user"),
    "a directory": (replaced_by_a_directory, "it is not a regular file"),
    "a link": (lambda path: path.symlink_to(path.rename(path.with_name("elsewhere"))), "Too many levels of symbolic"),
    "empty": (lambda path: path.write_bytes(bytes(PAGE_BYTES)), "holds no permit that was written since"),
    "noise": (lambda path: path.write_bytes(os.urandom(PAGE_BYTES)), "holds no permit that was written since"),
    "of an earlier boot": (written_before_the_last_boot, "holds no permit that was written since"),
}


def test_whatever_is_wrong_with_the_page_nothing_commits(pageless: Fenced) -> None:
    for name, (spoil, reason) in BAD_PAGES.items():
        pageless.permit()
        spoil(pageless.page_path)
        with pageless.server.connect() as client:
            error = refused(client, INSERT)
        assert "cannot be read" in str(error), name
        assert reason in (error.diag.message_detail or ""), name
        assert pageless.state()["permit"] == "unreadable", name
        subprocess.run(["rm", "-rf", str(pageless.page_path)], check=True)
    pageless.permit()
    pageless.server.sql(INSERT)


def test_a_page_that_replaced_the_mapped_one_is_found(fenced: Fenced) -> None:
    with fenced.server.connect() as client:
        fenced.refuse()
        refused(client, INSERT)
        fenced.page_path.unlink()
        fenced.permit()
        client.execute(INSERT)


def test_a_page_that_replaced_a_permit_without_end_is_found(fenced: Fenced) -> None:
    """The agent that was started anew in a pause writes to the new file only; the old one would never say no."""
    with fenced.server.connect() as client:
        fenced.permit(float("inf"))
        client.execute(INSERT)
        fenced.page_path.unlink()
        client.execute(INSERT)
        fenced.refuse()
        refused(client, INSERT)


def test_a_torn_slot_is_not_believed_and_the_other_one_counts(fenced: Fenced) -> None:
    page = fenced.page()
    page.permit(TERM + 1, now() + LONG_S)
    page.permit(TERM + 2, now() + LONG_S)
    newest = page._sequence % 2 * SLOT_BYTES
    for offset in range(SLOT_BYTES):
        whole = page._map[newest + offset]
        page._map[newest + offset] = whole ^ 0x10
        assert fenced.state()["term"] == TERM + 1, f"byte {offset}"
        page._map[newest + offset] = whole
    assert fenced.state()["term"] == TERM + 2


def test_a_writer_that_never_rests_disturbs_no_commit(fenced: Fenced) -> None:
    page, done = fenced.page(), threading.Event()

    def write() -> None:
        while not done.is_set():
            page.permit(TERM, now() + LONG_S)

    writer = threading.Thread(target=write)
    writer.start()
    load = fenced.server.spawn("pgbench", "-nN", "-c4", "-T3", "postgres")
    code = load.wait(30)
    done.set()
    writer.join()
    assert code == 0, fenced.server.log.read_text()[-2000:]
    assert fenced.state()["refused"] == 0
    assert fenced.count() > 100


# --- what is withheld ---------------------------------------------------------------------------------------------


def waiting_for_standbys(server: Server) -> bool:
    return bool(server.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))


def execute_alone(server: Server, query: str) -> object:
    """Whether the server acknowledged a query: ``done``, or how it did not."""
    with server.connect() as client:
        try:
            client.execute(query.encode())
        except psycopg.OperationalError as error:
            return error
        return "done"


def held_up(pool: ThreadPoolExecutor, fenced: Fenced, query: str) -> Future[object]:
    """A client whose commit now waits for a standby that does not exist."""
    asked = pool.submit(execute_alone, fenced.server, query)
    wait_until(lambda: waiting_for_standbys(fenced.server), "the commit to wait", 15)
    return asked


def test_a_commit_that_outlasts_the_permit_is_not_acknowledged(fenced: Fenced) -> None:
    fenced.set("synchronous_standby_names", "nobody")
    with ThreadPoolExecutor() as pool:
        asked = held_up(pool, fenced, INSERT)
        fenced.refuse()
        fenced.set("synchronous_standby_names", "")
        assert "closed the connection" in str(asked.result(15))
    assert fenced.count() == 1, "it is committed here: only its client must not be told so"
    assert (fenced.state()["late"], fenced.state()["unconfirmed"]) == (1, 0)
    assert "acknowledgement withheld: this node's permit" in fenced.server.log.read_text()


CANCEL: LiteralString = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
UNCONFIRMED = {
    "commit": INSERT,
    "commit, remote_write": f"SET synchronous_commit = remote_write; {INSERT}",
    "commit, remote_apply": f"SET synchronous_commit = remote_apply; {INSERT}",
    "prepare": f"BEGIN; {INSERT}; PREPARE TRANSACTION 'one'",
    "commit prepared": "COMMIT PREPARED 'one'",
}


def test_a_cancelled_wait_for_standbys_is_no_acknowledgement(fenced: Fenced) -> None:
    fenced.set("synchronous_standby_names", "nobody")
    with ThreadPoolExecutor() as pool:
        for number, (name, query) in enumerate(UNCONFIRMED.items(), start=1):
            asked = held_up(pool, fenced, query)
            fenced.server.sql(CANCEL)
            assert "closed the connection" in str(asked.result(15)), name
            assert fenced.state()["unconfirmed"] == number, name
        fenced.set("haagent_fence.withhold_unconfirmed", "off")
        asked = held_up(pool, fenced, INSERT)
        fenced.server.sql(CANCEL)
        assert asked.result(15) == "done"
    assert fenced.state()["unconfirmed"] == len(UNCONFIRMED)
    assert "the wait for synchronous standbys was cancelled" in fenced.server.log.read_text()


def test_what_does_not_wait_for_standbys_is_acknowledged(fenced: Fenced) -> None:
    with fenced.server.connect() as client:
        client.execute("CREATE TEMP TABLE mine (n int)")
        fenced.set("synchronous_standby_names", "nobody")
        client.execute("INSERT INTO mine VALUES (1)")
        client.execute("SELECT txid_current()")
        client.execute("SET synchronous_commit = local")
        client.execute(INSERT)
    assert fenced.state()["unconfirmed"] == 0


# --- what must go on ----------------------------------------------------------------------------------------------


@pytest.fixture
def standby(fenced: Fenced, library: Path) -> Iterator[Fenced]:
    """A synchronous standby with a fence and page of its own, which permits nothing."""
    with copy_of(Path(os.devnull)) as server:
        server.data_dir.unlink()
        upstream = f"host={fenced.server.home} port={PORT} user={USER} application_name=standby"
        server.run("pg_basebackup", "-d", upstream, "-D", str(server.data_dir), "-R", "-c", "fast")
        other = Fenced(server, server.home / "page")
        server.configure({"haagent_fence.page": str(other.page_path)})
        other.refuse()
        server.start()
        fenced.set("synchronous_standby_names", "standby")
        yield other


def test_a_synchronous_standby_confirms_and_takes_over(fenced: Fenced, standby: Fenced) -> None:
    fenced.server.run("pgbench", "-nN", "-c4", "-t50", "postgres")
    assert fenced.state()["unconfirmed"] == 0
    assert fenced.count() == 200
    wait_until(lambda: standby.count() == 200, "the standby to replay", 15)
    with standby.server.connect() as client:
        client.execute("SELECT pg_promote()")
        refused(client, INSERT)
        standby.permit(term=TERM + 1)
        client.execute(INSERT)
    assert standby.count() == 201


def test_a_crash_is_recovered_from(fenced: Fenced) -> None:
    fenced.server.sql(INSERT)
    with fenced.server.connect() as client:
        os.kill(client.info.backend_pid, signal.SIGKILL)
    wait_until(lambda: "all server processes terminated" in fenced.server.log.read_text(), "the crash", 15)

    def recovered() -> bool:
        try:
            return execute_alone(fenced.server, INSERT) == "done"
        except psycopg.OperationalError:
            return False

    wait_until(recovered, "recovery", 30)
    assert fenced.count() == 2


def test_autovacuum_parallel_queries_and_logical_decoding_work(fenced: Fenced) -> None:
    fenced.set("autovacuum_naptime", "1s")
    with fenced.server.connect() as client:
        client.execute("SELECT pg_create_logical_replication_slot('changes', 'test_decoding')")
        client.execute(
            "CREATE TABLE filled WITH (autovacuum_analyze_threshold = 1) AS SELECT generate_series(1, 1000) n"
        )
        client.execute("SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0")
        plan = client.execute("EXPLAIN (ANALYZE, COSTS OFF) SELECT count(*) FROM pgbench_accounts").fetchall()
        assert any("Workers Launched: " in line for (line,) in plan)
        client.execute("SET min_parallel_index_scan_size = 0; CREATE INDEX ON pgbench_accounts (abalance)")
        client.execute("CREATE DATABASE another")
        client.execute(INSERT)
        changes = client.execute("SELECT data FROM pg_logical_slot_get_changes('changes', NULL, NULL)").fetchall()
        assert any("pgbench_history: INSERT" in line for (line,) in changes)
    analyzed: LiteralString = (
        "SELECT 1 FROM pg_stat_user_tables WHERE relname = 'filled' AND last_autoanalyze IS NOT NULL"
    )
    wait_until(lambda: fenced.server.sql(analyzed), "autovacuum", 60, 0.2)
    assert fenced.state()["refused"] == 0


def test_a_single_user_server_needs_no_permit(pageless: Fenced) -> None:
    pageless.server.stop()
    command = [str(pageless.server.bin_dir / "postgres"), "--single", "-D", str(pageless.server.data_dir), "postgres"]
    done = subprocess.run(
        as_user(command, USER),
        input="CREATE TABLE alone (n int)\n",
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert "ERROR" not in done.stderr
    pageless.permit()
    pageless.server.start()
    pageless.server.sql("SELECT * FROM alone")


def test_loaded_by_hand_it_says_how_it_must_be_loaded(server: Server, library: Path) -> None:
    server.start()
    with server.connect() as client, pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        client.execute(f"LOAD '{library}'".encode())
    assert "must be loaded by shared_preload_libraries" in str(caught.value)
    assert "haagent-ctl restart" in (caught.value.diag.message_hint or "")


# --- fault 4: everything frozen past the permit, then thawed ----------------------------------------------------------


def test_frozen_past_the_permit_and_thawed_no_commit_is_acknowledged(fenced: Fenced) -> None:
    acknowledged: list[float] = []
    stop = threading.Event()

    def write() -> None:
        with fenced.server.connect() as client:
            while not stop.is_set():
                try:
                    client.execute(INSERT)
                except psycopg.Error:
                    if client.closed:
                        return
                else:
                    acknowledged.append(now())

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    wait_until(lambda: len(acknowledged) > 100, "the writers to write", 30)
    # Long enough for the writers to note what was acknowledged before everything stood still.
    permit_until = now() + 2
    page = fenced.page()
    page.permit(TERM, permit_until)
    frozen = fenced.server.members()
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: now() > permit_until + 0.2, "the permit to end", 5)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: fenced.state()["refused"] > 10, "refusals", 30)
    stop.set()
    for writer in writers:
        writer.join()
    assert max(acknowledged) < permit_until
