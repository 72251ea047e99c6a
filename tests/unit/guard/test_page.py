"""The commit fence's page as its writer makes it; that the fence reads it so is tried on real servers."""

from __future__ import annotations

import math
import os
import stat
import struct
from pathlib import Path
from uuid import UUID

import pytest

from haagent.guard.page import PAGE_BYTES, Page, fnv1a

BOOT_ID = UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes


def slots(path: Path) -> list[tuple[int, int, int]]:
    """(sequence, end in ns, term) of the slots written, by the layout; AssertionError when one is not whole."""
    found = []
    for start in (0, 64):
        raw = path.read_bytes()[start : start + 64]
        if raw == bytes(64):
            continue
        magic, sequence, until_ns, term, boot_id, zero, checksum = struct.unpack("=8sQqq16sQQ", raw)
        assert (magic, boot_id, zero, checksum) == (b"HAFENCE1", BOOT_ID, 0, fnv1a(raw[:56]))
        found.append((sequence, until_ns, term))
    return found


def test_the_hash_is_fnv_1a() -> None:
    # Test vectors of draft-eastlake-fnv, appendix C.
    assert fnv1a(b"") == 0xCBF29CE484222325
    assert fnv1a(b"a") == 0xAF63DC4C8601EC8C
    assert fnv1a(b"foobar") == 0x85944171F73967E8


def test_writes_take_turns_so_that_the_last_one_stays_whole(tmp_path: Path) -> None:
    page = Page(tmp_path / "page")
    assert slots(page.path) == []
    page.permit(7, 100.5)
    assert slots(page.path) == [(1, 100_500_000_000, 7)]
    page.permit(7, 101.5)
    assert slots(page.path) == [(2, 101_500_000_000, 7), (1, 100_500_000_000, 7)]
    page.permit(8, math.inf)
    assert slots(page.path) == [(2, 101_500_000_000, 7), (3, 2**63 - 1, 8)]
    page.refuse(8)
    assert slots(page.path) == [(4, 0, 8), (3, 2**63 - 1, 8)]


def test_a_new_agent_goes_on_in_the_file_that_a_server_has_mapped(tmp_path: Path) -> None:
    first = Page(tmp_path / "page")
    first.permit(7, 1.0)
    first.close()
    inode = first.path.stat().st_ino
    Page(first.path).permit(8, 2.0)
    assert first.path.stat().st_ino == inode
    assert sorted(slots(first.path)) == [(1, 1_000_000_000, 7), (2, 2_000_000_000, 8)]


def test_others_may_read_it_and_only_its_user_write(tmp_path: Path) -> None:
    page = Page(tmp_path / "page")
    status = page.path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o644
    assert (status.st_uid, status.st_size) == (os.geteuid(), PAGE_BYTES)
    assert list(tmp_path.iterdir()) == [page.path]


def test_a_file_of_another_size_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(b"short")
    path.chmod(0o600)
    Page(path).permit(7, 1.0)
    assert slots(path) == [(1, 1_000_000_000, 7)]


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(bytes(PAGE_BYTES))
    path.chmod(0o666)
    with pytest.raises(PermissionError, match=r"has mode 666; .* rm /"):
        Page(path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "page").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Page(tmp_path / "page")


def test_a_new_agent_sees_a_permit_without_end_only_while_it_is_the_newest(tmp_path: Path) -> None:
    page = Page(tmp_path / "page")
    assert not page.without_end()
    page.permit(1, math.inf)
    assert Page(tmp_path / "page").without_end()
    page.permit(1, 10.0)
    assert not Page(tmp_path / "page").without_end()
    page.permit(1, math.inf)
    page.refuse(1)
    assert not Page(tmp_path / "page").without_end()
