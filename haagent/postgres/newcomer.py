"""Whether PostgreSQL lets new clients in: a kept connection goes on working although the postmaster hangs.

Only the postmaster's part is asked: it accepts, and starts a process that answers the first packet. That comes before
authentication, costs one fork, is answered also when all connections are taken, and leaves no complaint in
PostgreSQL's log.
"""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

from haagent.postgres.sql import Address

EVERY_S = 5.0
"""How often it is asked while all is well; PostgreSQL pays a fork for each."""
ENOUGH_S = 0.5
"""A server that needs longer for it is suspect, and asked again at the next probe."""
CROWDED = (errno.EAGAIN, errno.EINVAL, errno.ENOTCONN)
"""A Unix socket whose queue is full: the kernel says EAGAIN, of which asyncio makes one of the others."""
AGAIN_S = 0.1
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""Source: PostgreSQL manual, "Message Formats", SSLRequest: length 8, code 80877103; the answer is one byte."""


BUSY_S = 30.0
"""How long a postmaster that works may keep newcomers waiting, as when many clients come back at once."""


class BusyError(Exception):
    """A newcomer was not answered, but the postmaster worked meanwhile: others are before it."""


async def turned_away(address: Address, timeout: float) -> str:
    """Why a newcomer finds no way in within ``timeout`` seconds; an empty string when it does.

    BusyError when it got no answer from a postmaster that does not hang.
    """
    where = f"{address.host}:{address.port}"
    worked_ns = _worked_ns(address.process.pid)
    try:
        async with asyncio.timeout(timeout):
            answer = await _knock(address)
    except TimeoutError:
        if _worked_ns(address.process.pid) > worked_ns:
            raise BusyError(f"a new connection to {where} was not answered within {timeout:g} s") from None
        return (
            f"a new connection to {where} was not answered within {timeout:g} s, although present ones work: the "
            f"postmaster hangs; what it waits for: cat /proc/{address.process.pid}/wchan"
        )
    except OSError as error:
        return f"a new connection to {where} failed, although present ones work: {error.strerror or error}"
    return "" if answer in (b"S", b"N") else f"a new connection to {where} was closed without an answer"


async def _knock(address: Address) -> bytes:
    """The first byte of the answer; before a Unix socket whose queue is full it waits as a TCP client would."""
    while True:
        try:
            reader, writer = await _connect(address)
            try:
                writer.write(SSL_REQUEST)
                return await reader.read(1)
            finally:
                writer.close()
        except OSError as error:
            if not address.host.startswith(("/", "@")) or error.errno not in CROWDED:
                raise
        await asyncio.sleep(AGAIN_S)


def _worked_ns(pid: int) -> int:
    """How long a process has been on a processor; 0 when that is not known. Source: proc(5), schedstat."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


async def _connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if not address.host.startswith(("/", "@")):
        return await asyncio.open_connection(address.host, address.port)
    path = f"{address.host}/.s.PGSQL.{address.port}"
    return await asyncio.open_unix_connection("\0" + path[1:] if path.startswith("@") else path)
