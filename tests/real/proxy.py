"""HAProxy with the project's own configuration, its sample addresses replaced by those of the trial."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.real.hosts import Host
from tests.real.processes import Process
from tests.real.programs import program
from tests.real.settings import NodePlace

SAMPLE = Path(__file__).parents[2] / "config" / "haproxy.cfg"
WRITES, READS = 5000, 5001
_SERVER = re.compile(r"^(\s*server\s+)(\S+)(\s+)(\S+)(.*)$")


def render(sample: str, places: Sequence[NodePlace], ports: Mapping[int, int], directory: Path) -> str:
    """The sample with our servers, our ports, and sockets and pid file in a directory of ours.

    Only the first ``server`` line of each section is taken as the pattern; its check port becomes the REST port.
    """
    lines: list[str] = []
    patterned = False
    for line in sample.splitlines():
        if re.match(r"^(listen|backend|frontend|global|defaults)\b", line):
            patterned = False
        found = _SERVER.match(line)
        if found:
            if not patterned:
                lines += [_server(found, place) for place in places]
            patterned = True
            continue
        for old, new in ports.items():
            line = re.sub(rf"^(\s*bind\s+\S*:){old}\b", rf"\g<1>{new}", line)
        line = re.sub(r"/(?:var/)?run/haproxy\S*/", f"{directory}/", line)
        if not re.match(r"^\s*(user|group|chroot|daemon)\b", line):
            lines.append(line)
    return "\n".join(lines) + "\n"


def _server(sample: re.Match[str], place: NodePlace) -> str:
    rest = re.sub(r"\bport\s+\d+", f"port {place.rest_port}", sample[5])
    return f"{sample[1]}{place.name}{sample[3]}{place.address}:{place.postgres_port}{rest}"


class Proxy:
    """An HAProxy of the trial."""

    def __init__(
        self, host: Host, places: Sequence[NodePlace], directory: Path, ports: Mapping[int, int] | None = None
    ) -> None:
        self._ports = ports or {}
        self.host = host
        self.file = directory / "haproxy.cfg"
        directory.mkdir(parents=True, exist_ok=True)
        self.file.write_text(render(SAMPLE.read_text(), places, self._ports, directory))
        argv = host.command([program("haproxy"), "-db", "-f", str(self.file)])
        self.process = Process(argv, directory / "haproxy.log", host.environment())

    @property
    def writes(self) -> int:
        """The port for writes."""
        return self._ports.get(WRITES, WRITES)

    @property
    def reads(self) -> int:
        """The port for reads."""
        return self._ports.get(READS, READS)
