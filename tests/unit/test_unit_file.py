"""The systemd unit, as far as it can be judged without running it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

SAMPLE = Path(__file__).parents[2] / "config" / "haagent.service"


def settings() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", SAMPLE.read_text(), re.MULTILINE))


def test_it_is_made_of_sections_settings_and_comments(tmp_path: Path) -> None:
    kinds = re.compile(r"(#.*|\[(Unit|Service|Install)\]|[A-Z]\w+=.*|)")
    assert [line for line in SAMPLE.read_text().splitlines() if not kinds.fullmatch(line)] == []
    if shutil.which("systemd-analyze"):
        unit = tmp_path / SAMPLE.name
        unit.write_text(SAMPLE.read_text().replace(settings()["ExecStart"].split()[0], sys.executable))
        found = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        assert (found.returncode, found.stderr) == (0, "")


def test_postgresql_and_the_guard_survive_a_restart_of_the_agent() -> None:
    said = settings()
    assert said["KillMode"] == "process"
    assert said["OOMPolicy"] == "continue"
    assert said["RuntimeDirectoryPreserve"] == "yes"
    assert "PrivateTmp" not in said
    assert "RestrictRealtime" not in said, "the guard asks for a real-time priority"
