"""The entry point of ``haagent-ctl``."""

from __future__ import annotations

from haagent.ctl.commands import cli


def main() -> None:
    """Run the command line; exit code 0 done, 1 refused or failed, 2 wrong usage."""
    cli(prog_name="haagent-ctl")
