"""TLS towards etcd, with certificates that may be replaced while the agent runs."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl

from haagent.dcs.settings import EtcdSettings

log = logging.getLogger(__name__)

CHECK_EVERY_S = 10.0

_Stamp = tuple[tuple[int, int, int], ...]


class Tls:
    """The context for new connections; ``look`` notices replaced files without waiting for them.

    ValueError when the files cannot be used. Without an https endpoint there is no context, and no file is read.
    """

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        wanted = any(url.startswith("https") for url in settings.endpoints)
        self._files = [path for path in (settings.cacert, settings.cert, settings.key) if path and wanted]
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._stamp: _Stamp = ()
        try:
            self._stamp = self._stamped()
            self.context: ssl.SSLContext | bool = self._load() if wanted else False
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
            stamp = await asyncio.to_thread(self._stamped)
            if stamp != self._stamp:
                self.context = await asyncio.to_thread(self._load)
                self._stamp = stamp
                log.info("the certificates towards etcd were replaced: new connections use %s", self._files)
        except OSError as error:
            log.warning("the certificates towards etcd cannot be read anew, the old ones stay in use: %s", error)
        finally:
            self._looking = None

    def _stamped(self) -> _Stamp:
        stats = [os.stat(path) for path in self._files]
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in stats)

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._settings.cacert)
        if self._settings.cacert is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self._settings.cert is not None:
            context.load_cert_chain(self._settings.cert, self._settings.key)
        return context
