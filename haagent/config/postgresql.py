"""The settings of PostgreSQL on a node: the ``postgresql`` section of the declaration in ``fields``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from haagent.config import values as v
from haagent.config.field import Where, flag, seconds, secret, section, setting, text, word
from haagent.core.facts import Settings

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Role:
    """A PostgreSQL role, and how connections in its name are made; names as in libpq."""

    username: str = text("Name of the role.")
    password: v.Secret = secret("Password of the role.")
    sslmode: str = word("libpq's sslmode.", default="", choices=SSL_MODES)
    sslkey: str = text("libpq's sslkey.")
    sslcert: str = text("libpq's sslcert.")
    sslpassword: v.Secret = secret("libpq's sslpassword.")
    sslrootcert: str = text("libpq's sslrootcert.")
    sslcrl: str = text("libpq's sslcrl.")
    sslcrldir: str = text("libpq's sslcrldir.")
    sslnegotiation: str = word("libpq's sslnegotiation.", default="", choices=("postgres", "direct"))
    gssencmode: str = word("libpq's gssencmode.", default="", choices=("disable", "prefer", "require"))
    channel_binding: str = word("libpq's channel_binding.", default="", choices=("disable", "prefer", "require"))

    def libpq(self) -> dict[str, str]:
        """The connection parameters besides user and password; ``sslpassword`` among them in the clear."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {"username", "password"}}
        return {
            name: value.reveal() if isinstance(value, v.Secret) else value for name, value in given.items() if value
        }


@dataclass(frozen=True, slots=True)
class Authentication:
    """The roles that the agent uses; they exist with these passwords after a bootstrap."""

    superuser: Role = section(Role)
    replication: Role = section(Role)
    rewind: Role = section(Role)


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Programs told of what happens; each gets action, role and scope as arguments."""

    on_start: str = text("Run when PostgreSQL was started.")
    on_stop: str = text("Run when PostgreSQL was stopped.")
    on_restart: str = text("Run when PostgreSQL was restarted in its role.")
    on_reload: str = text("Run when the configuration changed.")
    on_role_change: str = text("Run when this node was promoted or demoted.")


@dataclass(frozen=True, slots=True)
class BinName:
    """Names of PostgreSQL's programs where a distribution has other ones."""

    pg_ctl: str = text("Name of pg_ctl.", default="pg_ctl", moot="the agent does not use pg_ctl")
    initdb: str = text("Name of initdb.", default="initdb")
    pg_controldata: str = text("Name of pg_controldata.", default="pg_controldata")
    pg_basebackup: str = text("Name of pg_basebackup.", default="pg_basebackup")
    postgres: str = text(
        "Name of postgres.",
        default="postgres",
        moot="it can't be another, as the guard knows PostgreSQL's processes by it",
    )
    pg_isready: str = text("Name of pg_isready.", default="pg_isready", moot="the agent does not use pg_isready")
    pg_rewind: str = text("Name of pg_rewind.", default="pg_rewind")

    def others(self) -> dict[str, str]:
        """The programs that have another name here."""
        names = ("initdb", "pg_controldata", "pg_basebackup", "pg_rewind")
        return {name: given for name in names if (given := getattr(self, name)) != name}


_USUAL = Settings()
_HBA = ["local all all peer", "host all all all scram-sha-256", "host replication all all scram-sha-256"]
BOTH, DYNAMIC = Where.BOTH, Where.DYNAMIC


@dataclass(frozen=True, slots=True)
class Postgresql:
    """PostgreSQL on this node."""

    listen: v.Listen = setting(
        v.LISTEN, "Where PostgreSQL listens; by default at `connect_address`.", example="0.0.0.0:5432"
    )
    connect_address: v.Address = setting(
        v.PG_ADDRESS, "Where other nodes and clients reach it; by default what `listen` says.", example="10.0.0.1:5432"
    )
    proxy_address: v.Address | None = setting(
        v.PG_ADDRESS, "Where a connection pooler beside PostgreSQL is reached; published as `proxy_url`."
    )
    data_dir: str = text("The data directory.", required=True, example="/var/lib/postgresql/15/main")
    config_dir: str = text("Directory of the configuration files; by default the data directory.")
    bin_dir: str = text(
        "Directory of PostgreSQL's programs; empty: found by PATH.", default="", example="/usr/lib/postgresql/15/bin"
    )
    bin_name: BinName = section(BinName)
    pgpass: str = text("The password file that the agent writes; by default in `haagent.state_dir`.")
    use_unix_socket: bool = flag("The agent connects through the Unix socket.")
    commit_fence: str = word(
        "The library inside PostgreSQL that refuses commits past the permit: used where it is installed, required of "
        "whoever leads, or not used.",
        choices=("auto", "required", "off"),
        default="auto",
    )
    use_unix_socket_repl: bool = flag(
        "The agent's local replication connections go through the Unix socket.",
        moot="the agent makes no local replication connection; standbys, base backups and pg_rewind come by TCP",
    )
    authentication: Authentication = section(Authentication)
    callbacks: Callbacks = section(Callbacks)
    parameters: Mapping[str, Any] = setting(
        v.MAP, "PostgreSQL's parameters.", default={}, where=BOTH, example={"shared_buffers": "1GB"}
    )
    pg_hba: tuple[str, ...] = setting(
        v.LINES,
        "The lines of pg_hba.conf.",
        default=(),
        where=BOTH,
        example=_HBA,
    )
    pg_ident: tuple[str, ...] = setting(v.LINES, "The lines of pg_ident.conf.", default=(), where=BOTH)
    parameters_primary: Mapping[str, Any] = setting(
        v.MAP, "PostgreSQL's parameters on the primary only, besides `parameters`.", default={}, where=BOTH
    )
    pg_hba_primary: tuple[str, ...] = setting(
        v.LINES, "The lines of pg_hba.conf on the primary only, instead of `pg_hba`.", default=(), where=BOTH
    )
    pg_ident_primary: tuple[str, ...] = setting(
        v.LINES, "The lines of pg_ident.conf on the primary only, instead of `pg_ident`.", default=(), where=BOTH
    )
    parameters_replica: Mapping[str, Any] = setting(
        v.MAP, "PostgreSQL's parameters on standbys only, besides `parameters`.", default={}, where=BOTH
    )
    pg_hba_replica: tuple[str, ...] = setting(
        v.LINES, "The lines of pg_hba.conf on standbys only, instead of `pg_hba`.", default=(), where=BOTH
    )
    pg_ident_replica: tuple[str, ...] = setting(
        v.LINES, "The lines of pg_ident.conf on standbys only, instead of `pg_ident`.", default=(), where=BOTH
    )
    parameters_standby_leader: Mapping[str, Any] = setting(
        v.MAP,
        "PostgreSQL's parameters on a standby leader only, besides `parameters`.",
        default={},
        where=BOTH,
    )
    pg_hba_standby_leader: tuple[str, ...] = setting(
        v.LINES,
        "The lines of pg_hba.conf on a standby leader only, instead of `pg_hba`.",
        default=(),
        where=BOTH,
    )
    pg_ident_standby_leader: tuple[str, ...] = setting(
        v.LINES,
        "The lines of pg_ident.conf on a standby leader only, instead of `pg_ident`.",
        default=(),
        where=BOTH,
    )
    pg_hosts: tuple[str, ...] = setting(
        v.LINES, "The lines of pg_hosts.conf (PostgreSQL 19).", default=(), where=BOTH, effective=False
    )
    recovery_conf: Mapping[str, Any] = setting(
        v.MAP, "Recovery parameters of standbys, such as restore_command.", default={}, where=BOTH
    )
    custom_conf: str = text("A file used as the base of postgresql.conf.")
    use_pg_rewind: bool = flag(
        "A diverged former primary is rewound instead of cloned anew.", default=_USUAL.use_pg_rewind, where=BOTH
    )
    use_slots: bool = flag("Standbys stream through replication slots.", default=_USUAL.use_slots, where=DYNAMIC)
    remove_data_directory_on_rewind_failure: bool = flag(
        "When pg_rewind fails the data directory is moved aside and cloned anew.",
        default=_USUAL.remove_data_directory_on_rewind_failure,
        where=BOTH,
    )
    remove_data_directory_on_diverged_timelines: bool = flag(
        "When history has diverged and pg_rewind is not used the data directory is moved aside and cloned anew.",
        default=_USUAL.remove_data_directory_on_diverged_timelines,
        where=BOTH,
    )
    create_replica_methods: tuple[str, ...] = setting(
        v.WORDS,
        "Ways to make a replica, in the order in which they are tried: `basebackup`, or a section of that name "
        "beside it with its command.",
        default=("basebackup",),
        where=BOTH,
        aliases=("create_replica_method",),
    )
    basebackup: v.Options = setting(v.OPTIONS, "Options of pg_basebackup.", default=(), example=[{"max-rate": "100M"}])
    rewind: v.Options = setting(v.OPTIONS, "Options of pg_rewind.", default=())
    pg_ctl_timeout: float = seconds(
        "How long a new cluster's first server may take to start and to stop, and a standby that is to be rewound, "
        "restarted or cloned anew to stop before it is stopped at once.",
        default=_USUAL.pg_ctl_timeout,
        least=1,
        where=BOTH,
    )
    pre_promote: str = text(
        "Program run before a promotion; when it fails there is none, and the leader key is given up.", where=BOTH
    )
    before_stop: str = text(
        "Program run before PostgreSQL is stopped in good order, to its end or for a minute; for less where others "
        "wait for the stop. A stop that can't wait does not wait for it."
    )


ROLE_KEYS = tuple(f"pg_hosts_{role}" for role in ("primary", "replica", "standby_leader"))
"""Keys of a `postgresql` section that hold for one role only; accepted, without effect yet."""
