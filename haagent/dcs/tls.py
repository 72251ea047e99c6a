"""TLS towards etcd, with certificates that may be replaced while the agent runs."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable

from haagent.dcs.settings import EtcdSettings
from haagent.host.threads import in_thread

log = logging.getLogger(__name__)

CHECK_EVERY_S = 10.0

Stamp = tuple[tuple[int, int, int], ...]


class Files:
    """The certificates' files; ``look`` notices replaced ones without waiting for them, and ``stamp`` tells them apart.

    ``load`` is called with the first files and with each that replace them, in a thread; OSError when they are no good.
    ValueError when the first ones cannot be used. Without TLS no file is read.
    """

    def __init__(self, settings: EtcdSettings, load: Callable[[], None]) -> None:
        self._load = load
        self._files = [path for path in (settings.cacert, settings.cert, settings.key) if path and settings.secure]
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self.stamp: Stamp = ()
        try:
            self.stamp = self._stamped()
            if settings.secure:
                self._load()
        except OSError as error:
            raise ValueError(f"the certificates cannot be used: {error} (files: {self._files})") from error

    def look(self, *, soon: bool = False) -> None:
        """See in the background whether the files are others now, if that is due; ``soon``: a connection failed."""
        now = asyncio.get_running_loop().time()
        due = now - self._looked_at > (1.0 if soon else CHECK_EVERY_S)
        if self._files and due and self._looking is None:
            self._looked_at = now
            self._looking = asyncio.create_task(self._reload())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def _reload(self) -> None:
        try:
            stamp = await in_thread(self._stamped)
            if stamp != self.stamp:
                await in_thread(self._load)
                self.stamp = stamp
                log.info("the certificates towards etcd were replaced: new connections use %s", self._files)
        except OSError as error:
            log.warning("the certificates towards etcd cannot be read anew, the old ones stay in use: %s", error)
        finally:
            self._looking = None

    def _stamped(self) -> Stamp:
        stats = [os.stat(path) for path in self._files]
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in stats)


class Tls:
    """The context for new connections, of the files as they are now; False without TLS."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self.context: ssl.SSLContext | bool = False
        self.files = Files(settings, self._load)

    def _load(self) -> None:
        self.context = context_of(self._settings)


def context_of(settings: EtcdSettings) -> ssl.SSLContext:
    """What the settings say, with the files as they are; OSError when they are no good. Blocking."""
    context = ssl.create_default_context(cafile=settings.cacert)
    if settings.cacert is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.cert is not None:
        context.load_cert_chain(settings.cert, settings.key)
    return context
