"""The certificates of this node: when they end, said in time, and whether their files have been replaced."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

log = logging.getLogger(__name__)

DAY_S = 86_400.0
WARN_DAYS = (30, 7, 1, 0)
"""How many days before the end a warning is logged, once each."""

_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18
_END = "-----END CERTIFICATE-----"

Stamp = tuple[int, int, int] | None


class Certificates:
    """Looks at files now and then; ``certificates`` and ``others`` (keys) are paths by the names of their settings."""

    def __init__(self, certificates: Mapping[str, str], others: Mapping[str, str]) -> None:
        self._certificates, self._others = dict(certificates), dict(others)
        self._stamps = self._stamped()
        self._warned: dict[str, int] = {}
        self.ends: dict[str, float] = {}
        """When each one ends, by the name of its setting; seconds since 1970."""

    def look(self, wall: float) -> bool:
        """Read the files, which may block, and warn of ends that are near; whether any file was replaced since."""
        stamps = self._stamped()
        changed = stamps != self._stamps
        if changed:
            self._warned.clear()
        self._stamps = stamps
        self.ends = {}
        for name, path in self._certificates.items():
            try:
                self.ends[name] = ends_at(path)
            except (OSError, ValueError) as error:
                if self._warned.setdefault(name, -1) == -1 and changed:
                    log.warning("%s: %s can't be read: %s", name, path, error)
            else:
                self._warn(name, path, wall)
        return changed

    def _warn(self, name: str, path: str, wall: float) -> None:
        left_s = self.ends[name] - wall
        stage = sum(left_s < days * DAY_S for days in WARN_DAYS)
        if stage <= self._warned.get(name, 0):
            return
        self._warned[name] = stage
        when = datetime.fromtimestamp(self.ends[name], UTC).isoformat(" ", "minutes")
        mend = "replace the file, which is read again by itself"
        if left_s < 0:
            log.error("%s: the certificate in %s has ended at %s; %s", name, path, when, mend)
            return
        days = left_s / DAY_S
        log.warning("%s: the certificate in %s ends in %.1f days, at %s; %s", name, path, days, when, mend)

    def _stamped(self) -> dict[str, Stamp]:
        return {path: _stamp(path) for path in {*self._certificates.values(), *self._others.values()}}


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def ends_at(path: str) -> float:
    """When the first of the certificates in a PEM file ends, in seconds since 1970; ValueError when there is none."""
    with open(path, encoding="ascii", errors="replace") as file:
        parts = file.read().split(_END)[:-1]
    if not parts:
        raise ValueError("it holds no certificate")
    return min(_not_after(ssl.PEM_cert_to_DER_cert(_certificate(part))) for part in parts)


def _certificate(part: str) -> str:
    return part[part.index("-----BEGIN CERTIFICATE-----") :] + _END + "\n"


def _not_after(der: bytes) -> float:
    """The end of validity of an X.509 certificate (RFC 5280, section 4.1)."""
    try:
        (_, certificate, _), *_ = _elements(der, 0, len(der))
        (_, begin, end), *_ = _elements(der, certificate, len(der))
        fields = [one for one in _elements(der, begin, end) if one[0] != _VERSION]
        _serial, _algorithm, _issuer, validity, *_ = fields
        _, (kind, begin, end) = _elements(der, validity[1], validity[2])
        form = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}[kind]
        return datetime.strptime(der[begin:end].decode("ascii"), form).replace(tzinfo=UTC).timestamp()
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError("it holds no certificate that can be read") from error


def _elements(der: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Tag, begin and end of the content of each element between two places."""
    while at < end:
        tag, length = der[at], der[at + 1]
        begin = at + 2
        if length & 0x80:
            begin += length & 0x7F
            length = int.from_bytes(der[at + 2 : begin])
        at = begin + length
        if at > len(der):
            raise ValueError("an element is longer than what holds it")
        yield tag, begin, at
