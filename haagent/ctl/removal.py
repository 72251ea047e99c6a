"""``haagent-ctl remove``: forget a cluster in etcd, after words that nobody types by mistake."""

from __future__ import annotations

import click

from haagent.ctl import output, show
from haagent.ctl.target import DCS_TIMEOUT_S, Failed, Target
from haagent.ports import PortError, Unknown

AWARE = "Yes I am aware"


async def remove(target: Target, form: str) -> None:
    """Delete every key of a cluster; agents that run put theirs back, so that a running cluster only looks new."""
    snapshot = await target.existing()
    output.show(await show.members([target], form))
    if _typed("Please confirm the cluster name to remove") != target.cluster:
        raise Failed("Cluster names specified do not match. Nothing was removed")
    text = f'You are about to remove all information in etcd for {target.cluster}, please type: "{AWARE}"'
    if _typed(text) != AWARE:
        raise Failed(f'You did not exactly type "{AWARE}". Nothing was removed')
    leader = snapshot.leader.name if snapshot.leader else None
    if leader is not None:
        typed = _typed("This cluster currently is healthy. Please specify the leader name to continue")
        if typed != leader:
            raise Failed(f"{typed or 'Nothing'} is not the leader of {target.cluster}. Nothing was removed")
    try:
        count = await target.dcs.remove_all(DCS_TIMEOUT_S)
    except Unknown as error:
        raise Failed(f"{error}. Whether the keys were removed is not known: see haagent-ctl list") from None
    except PortError as error:
        raise Failed(f"{error}. Nothing was removed") from None
    output.show(f"{count} keys of cluster {target.cluster} were removed")
    if leader is not None:
        output.show("Its agents run: they put their keys back, and PostgreSQL goes on as it did")


def _typed(question: str) -> str:
    try:
        answer: str = click.prompt(question, default="", show_default=False)
    except click.Abort:
        raise Failed("Nothing was removed: it was not confirmed") from None
    return answer
