"""Every command, its arguments and options, declared once; what they do stands in the modules beside this one.

Source of names and options: the documentation of ``patronictl`` 4.1, so that runbooks go on to work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO, TypeVar

import click
from click.shell_completion import get_completion_class

from haagent.ctl import changes, configure, nodes, output, removal, shared, show, sql, standby_cluster, standing, switch
from haagent.ctl.doctor import examine
from haagent.ctl.nodes import Choice
from haagent.ctl.shared import Edit
from haagent.ctl.target import Failed, Open, Options, Target, open_target
from haagent.ctl.whatif import foreseen

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """The command line's own state: what was said before the command, and how clusters are opened."""

    options: Options
    open: Open

    def run(self, cluster: str | None, work: Callable[[Target], Awaitable[T]]) -> T:
        """Do something with one cluster."""
        return self.run_all((cluster,), lambda targets: work(targets[0]))

    def run_all(self, clusters: Sequence[str | None], work: Callable[[Sequence[Target]], Awaitable[T]]) -> T:
        """Do something with several clusters."""

        async def opened() -> T:
            async with AsyncExitStack() as stack:
                targets = [await stack.enter_async_context(self.open(self.options, name)) for name in clusters]
                return await work(targets)

        return asyncio.run(opened())


pass_line = click.make_pass_decorator(Line)
Command = Callable[..., Any]


def _optional_cluster(command: Command) -> Command:
    return click.argument("cluster", metavar="[CLUSTER]", required=False)(command)


def _members(command: Command) -> Command:
    command = click.argument("members", metavar="[MEMBERS]...", nargs=-1)(command)
    return click.argument("cluster", metavar="CLUSTER")(command)


def _force(command: Command) -> Command:
    return click.option("--force", is_flag=True, help="Do not ask for confirmation; for scripts.")(command)


def _role(command: Command) -> Command:
    kind = click.Choice(nodes.ROLES)
    return click.option("-r", "--role", type=kind, default="any", help="Only members with this role.")(command)


def _wait(text: str) -> Callable[[Command], Command]:
    return click.option("--wait", is_flag=True, help=text)


def _scheduled(command: Command) -> Command:
    text = "When: ISO 8601 with a time zone, or `now`."
    return click.option("--scheduled", metavar="TIMESTAMP", help=text)(command)


def _watched(command: Command) -> Command:
    command = click.option("-W", "every_two", is_flag=True, help="Show it again every 2 seconds.")(command)
    text = "Show it again every so many seconds."
    return click.option("-w", "--watch", type=click.FloatRange(0.1), metavar="SECONDS", help=text)(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-c", "--config-file", metavar="FILE", help="Configuration file.")
@click.option("-d", "--dcs-url", "--dcs", metavar="URL", help="etcd, as etcd3://HOST:PORT[,HOST:PORT...].")
@click.option("-k", "--insecure", is_flag=True, help="Do not check the agents' certificates.")
@click.pass_context
def cli(context: click.Context, config_file: str | None, dcs_url: str | None, insecure: bool) -> None:
    """Look at haagent clusters and change them.

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
    """
    opener: Open = context.obj or open_target
    context.obj = Line(Options(config_file, dcs_url, insecure), opener)


# --- looking ---


def _shown(text: Callable[[], str], timestamp: bool, watch: float | None) -> None:
    """Print it once, or again and again until Ctrl-C; a failure while watching is shown and does not end it."""
    while True:
        try:
            body = text()
        except Failed as error:
            if watch is None:
                raise
            body = f"Error: {error.format_message()}"
        if watch is not None:
            click.clear()
        if timestamp:
            output.show(datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S"))
        output.show(body)
        if watch is None:
            return
        time.sleep(watch)


@cli.command("list")
@click.argument("clusters", metavar="[CLUSTERS]...", nargs=-1)
@click.option("-e", "--extended", is_flag=True, help="Show all columns, also empty ones.")
@click.option("-t", "--timestamp", is_flag=True, help="Print the time first.")
@output.format_option
@_watched
@pass_line
def list_(
    line: Line,
    clusters: tuple[str, ...],
    extended: bool,
    timestamp: bool,
    form: str,
    every_two: bool,
    watch: float | None,
) -> None:
    """Show the members of clusters. Lags are in MB."""

    def text() -> str:
        return line.run_all(clusters or (None,), lambda targets: show.members(targets, form, extended))

    _shown(text, timestamp, 2.0 if every_two else watch)


@cli.command()
@click.argument("clusters", metavar="[CLUSTERS]...", nargs=-1)
@output.format_option
@_watched
@pass_line
def topology(line: Line, clusters: tuple[str, ...], form: str, every_two: bool, watch: float | None) -> None:
    """Show who replicates from whom."""

    def text() -> str:
        return line.run_all(clusters or (None,), lambda targets: show.members(targets, form, tree=True))

    _shown(text, False, 2.0 if every_two else watch)


@cli.command()
@_optional_cluster
@output.format_option
@pass_line
def history(line: Line, cluster: str | None, form: str) -> None:
    """Show all promotions: timeline, position, reason, time, new leader."""
    output.show(line.run(cluster, lambda target: show.history(target, form)))


@cli.command()
@_optional_cluster
@click.argument("members", metavar="[MEMBERS]...", nargs=-1)
@pass_line
def version(line: Line, cluster: str | None, members: tuple[str, ...]) -> None:
    """Show the version of this program and, with a CLUSTER, of its agents and PostgreSQL."""
    output.show(show.own_version())
    if cluster:
        output.show("")
        for name, text in line.run(cluster, lambda target: show.versions(target, members)):
            output.show(f"{name}: {text}")


@cli.command("show-config")
@_optional_cluster
@click.option("-f", "--format", "form", type=click.Choice(["yaml", "yml", "json"]), default="yaml", help="Format.")
@pass_line
def show_config(line: Line, cluster: str | None, form: str) -> None:
    """Show the dynamic configuration."""
    output.show(line.run(cluster, lambda target: shared.show_config(target, output.canonical(form))))


_CLUSTER = click.option("--cluster", metavar="CLUSTER", help="The cluster; that of the configuration if not given.")


@cli.command()
@click.argument("node", metavar="[NODE]", required=False)
@click.option("--last", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="How many at most.")
@_CLUSTER
@output.format_option
@pass_line
def why(line: Line, node: str | None, last: int, cluster: str | None, form: str) -> None:
    """Tell the last changes of role, of all nodes or of one: when, why, what was known, who asked."""
    text, silent = line.run(cluster, lambda target: changes.role_changes(target, node, last, form))
    output.show(text)
    for missing in silent:
        output.warn(f"Not heard: {missing}")


@cli.command()
@click.argument("node", metavar="[NODE]", required=False)
@_CLUSTER
@output.format_option
@pass_line
def explain(line: Line, node: str | None, cluster: str | None, form: str) -> None:
    """Tell what holds each node where it is, whether it may lead, and the command that changes it."""
    output.show(line.run(cluster, lambda target: standing.standings(target, node, form)))


@cli.command()
@_optional_cluster
@output.format_option
@pass_line
@click.pass_context
def doctor(context: click.Context, line: Line, cluster: str | None, form: str) -> None:
    """Examine nodes, etcd and the ways between them; exit code 1 when something is a problem."""
    found = line.run(cluster, examine.findings)
    output.show(examine.shown(found, form))
    context.exit(1 if examine.unwell(found) else 0)


@cli.command()
@_optional_cluster
@output.format_option
@pass_line
def whatif(line: Line, cluster: str | None, form: str) -> None:
    """Tell what happens if the leader dies now: who takes over, what is lost, how long nobody writes."""
    output.show(line.run(cluster, lambda target: foreseen(target, form)))


_ROLE_OR_LEADER = click.option("-r", "--role", type=click.Choice(nodes.ROLES), help="A member with this role.")
_MEMBER = click.option("-m", "--member", metavar="NAME", help="This member.")


@cli.command()
@_optional_cluster
@_ROLE_OR_LEADER
@_MEMBER
@pass_line
def dsn(line: Line, cluster: str | None, role: str | None, member: str | None) -> None:
    """Show how to connect to a member, the leader if nothing is said."""
    output.show(line.run(cluster, lambda target: sql.dsn(target, member, role)))


@cli.command()
@_optional_cluster
@click.option("--format", "form", type=click.Choice(output.FORMATS), default="tsv", help="Output format.")
@click.option("-f", "--file", "file", type=click.File(), help="Run the SQL of this file.")
@click.option("--password", "ask_password", is_flag=True, help="Ask for the password; else libpq finds it.")
@click.option("-U", "--username", metavar="NAME", help="Database user.")
@_watched
@_ROLE_OR_LEADER
@_MEMBER
@click.option("--delimiter", default="\t", help="What stands between the columns of tsv.")
@click.option("-c", "--command", metavar="SQL", help="The SQL to run.")
@click.option("-d", "--dbname", metavar="NAME", help="Database.")
@pass_line
def query(
    line: Line,
    cluster: str | None,
    form: str,
    file: TextIO | None,
    ask_password: bool,
    username: str | None,
    every_two: bool,
    watch: float | None,
    role: str | None,
    member: str | None,
    delimiter: str,
    command: str | None,
    dbname: str | None,
) -> None:
    """Run SQL on a member, the leader if nothing is said."""
    if (command is None) == (file is None):
        raise click.UsageError("give --command or --file")
    asked = command if command is not None else file.read() if file is not None else ""
    password = click.prompt("Password", hide_input=True) if ask_password else None
    question = sql.Question(asked, member, role, dbname, username, password, output.canonical(form), delimiter)
    _shown(lambda: line.run(cluster, lambda target: sql.query(target, question)), False, 2.0 if every_two else watch)


# --- changes of leader ---


@cli.command()
@_optional_cluster
@click.option("--leader", "--primary", "leader", metavar="NAME", help="The present leader.")
@click.option("--candidate", metavar="NAME", help="Who shall lead; the best standby if not given.")
@_scheduled
@_force
@pass_line
def switchover(
    line: Line, cluster: str | None, leader: str | None, candidate: str | None, scheduled: str | None, force: bool
) -> None:
    """Hand leadership over in good order; nothing is lost."""
    line.run(cluster, lambda target: switch.switchover(target, leader, candidate, scheduled, force))


@cli.command()
@_optional_cluster
@click.option("--candidate", metavar="NAME", help="Who shall lead.")
@_force
@pass_line
def failover(line: Line, cluster: str | None, candidate: str | None, force: bool) -> None:
    """Make a member lead when there is no leader that could help; commits may be lost."""
    line.run(cluster, lambda target: switch.failover(target, candidate, force))


# --- nodes ---


@cli.command()
@_members
@_role
@click.option("--any", "any_one", is_flag=True, help="One random member of those that are meant.")
@click.option("--pg-version", metavar="VERSION", help="Only if PostgreSQL is older than this, such as 15.4.")
@click.option("--pending", is_flag=True, help="Only members that wait for a restart.")
@click.option("--timeout", metavar="SECONDS", help="Give up, and hand over if it leads, when it takes longer.")
@_scheduled
@_force
@pass_line
def restart(
    line: Line,
    cluster: str,
    members: tuple[str, ...],
    role: str,
    any_one: bool,
    pg_version: str | None,
    pending: bool,
    timeout: str | None,
    scheduled: str | None,
    force: bool,
) -> None:
    """Restart PostgreSQL on members, one after the other, the leader last."""
    choice = Choice(members, role, pending, any_one)
    line.run(cluster, lambda target: nodes.restart(target, choice, scheduled, pg_version, timeout, force))


@cli.command()
@_members
@_role
@_force
@pass_line
def reload(line: Line, cluster: str, members: tuple[str, ...], role: str, force: bool) -> None:
    """Have agents read their configuration files again."""
    line.run(cluster, lambda target: nodes.reload(target, Choice(members, role), force))


@cli.command()
@_members
@click.option("--from-leader", is_flag=True, help="Copy from the leader, not from a clonefrom member.")
@_wait("Wait until it is done, showing progress.")
@_force
@pass_line
def reinit(line: Line, cluster: str, members: tuple[str, ...], from_leader: bool, wait: bool, force: bool) -> None:
    """Build the data of standbys anew; the old directory is moved aside."""
    line.run(cluster, lambda target: nodes.reinit(target, members, force, from_leader, wait))


@cli.command()
@click.argument("words", metavar="[CLUSTER] [MEMBERS]... {restart|switchover}", nargs=-1, required=True)
@_role
@_force
@pass_line
def flush(line: Line, words: tuple[str, ...], role: str, force: bool) -> None:
    """Forget a scheduled restart of members, or the scheduled switchover."""
    *before, event = words
    cluster, members = (before[0], before[1:]) if before else (None, [])
    if event == "restart":
        line.run(cluster, lambda target: nodes.flush_restarts(target, Choice(members, role), force))
    elif event == "switchover" and not members:
        line.run(cluster, lambda target: nodes.flush_switchover(target, force))
    else:
        raise click.UsageError("say what to forget: haagent-ctl flush CLUSTER [MEMBERS]... restart, or switchover")


# --- what the members share ---


@cli.command("edit-config")
@_optional_cluster
@click.option("-q", "--quiet", is_flag=True, help="Do not show the difference.")
@click.option("-s", "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a.b.c to a value; null removes it.")
@click.option("-p", "--pg", "pg_sets", multiple=True, metavar="NAME=VALUE", help="Set a PostgreSQL parameter.")
@click.option("--apply", metavar="FILE", help="Lay a YAML file over it; - is standard input.")
@click.option("--replace", metavar="FILE", help="Replace it by a YAML file; - is standard input.")
@_force
@pass_line
def edit_config(
    line: Line,
    cluster: str | None,
    quiet: bool,
    sets: tuple[str, ...],
    pg_sets: tuple[str, ...],
    apply: str | None,
    replace: str | None,
    force: bool,
) -> None:
    """Change the dynamic configuration, in $EDITOR or as given."""
    if apply is not None and replace is not None:
        raise click.UsageError("give --apply or --replace, not both")
    edit = Edit(sets, pg_sets, apply, replace)
    line.run(cluster, lambda target: shared.edit_config(target, edit, quiet, force))


@cli.command()
@_optional_cluster
@_wait("Wait until all members have seen it.")
@pass_line
def pause(line: Line, cluster: str | None, wait: bool) -> None:
    """Switch automatic failover off (maintenance mode)."""
    line.run(cluster, lambda target: shared.set_pause(target, True, wait))


@cli.command()
@_optional_cluster
@_wait("Wait until all members have seen it.")
@pass_line
def resume(line: Line, cluster: str | None, wait: bool) -> None:
    """Switch automatic failover on again."""
    line.run(cluster, lambda target: shared.set_pause(target, False, wait))


@cli.command("demote-cluster")
@_optional_cluster
@_force
@click.option("--host", metavar="ADDRESS", help="The other cluster's PostgreSQL.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", help="Its port.")
@click.option("--restore-command", metavar="COMMAND", help="The command that fetches its WAL.")
@click.option("--primary-slot-name", metavar="SLOT", help="The slot to use there.")
@pass_line
def demote_cluster(
    line: Line,
    cluster: str | None,
    force: bool,
    host: str | None,
    port: int | None,
    restore_command: str | None,
    primary_slot_name: str | None,
) -> None:
    """Have the whole cluster follow another one; nothing here accepts writes any more."""
    source = standby_cluster.Source(host, port, restore_command, primary_slot_name)
    line.run(cluster, lambda target: standby_cluster.demote(target, source, force))


@cli.command("promote-cluster")
@_optional_cluster
@_force
@pass_line
def promote_cluster(line: Line, cluster: str | None, force: bool) -> None:
    """Have a cluster that follows another one stand alone and accept writes."""
    line.run(cluster, lambda target: standby_cluster.promote(target, force))


# --- beginning and end ---


@cli.command("configure")
@click.option("-c", "--config-file", "path", metavar="FILE", help="The file to write.")
@click.option("-d", "--dcs", "--dcs-url", "dcs", metavar="URL", help="etcd, as etcd3://HOST:PORT[,HOST:PORT...].")
@click.option("-n", "--namespace", default="/service/", show_default=True, help="Where the clusters are in etcd.")
@_optional_cluster
@_force
def configure_(path: str | None, dcs: str | None, namespace: str, cluster: str | None, force: bool) -> None:
    """Write a configuration file for this command on a machine that has none."""
    output.show(configure.write(path, dcs, namespace, cluster, force))


@cli.command()
@click.argument("cluster", metavar="CLUSTER")
@output.format_option
@pass_line
def remove(line: Line, cluster: str, form: str) -> None:
    """Forget a cluster in etcd, after typing its name; a running one only puts its keys back."""
    line.run(cluster, lambda target: removal.remove(target, form))


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands and options: eval "$(haagent-ctl completion bash)"."""
    found = get_completion_class(shell)
    assert found is not None, f"click completes nothing for {shell}"
    output.show(found(context.find_root().command, {}, "haagent-ctl", "_HAAGENT_CTL_COMPLETE").source())
