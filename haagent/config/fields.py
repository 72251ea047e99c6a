"""Every setting, declared once: loader, validation, environment names, sample file, schema and manual follow from it.

One dataclass a section; each attribute is a setting with its kind, default, bounds, environment name and one sentence.
``FIELDS`` is the same as a flat table. Source of names and meanings that are not haagent's own: the public
documentation of Patroni 4.1 (YAML, dynamic and environment configuration).

Laws. ``effective=False`` marks a setting that is accepted and does nothing yet, ``moot`` one that never will, and why:
the loader says so. ``where`` says who may set it: this node's file, the dynamic configuration in the DCS, or both (then
the file wins). haagent's own settings stand under names that Patroni does not use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from haagent.config import values as v
from haagent.config.field import Where, flag, seconds, secret, section, setting, text, walk, word
from haagent.config.postgresql import Postgresql
from haagent.core.facts import Settings


@dataclass(frozen=True, slots=True)
class Log:
    """How and where the agent logs."""

    type: str = word("Form of the lines.", default="plain", choices=("plain", "json"))
    level: str = setting(v.LEVEL, "The least severe level that is logged.", default="INFO")
    traceback_level: str = setting(v.LEVEL, "Tracebacks are shown when `level` is not above this one.", default="ERROR")
    format: str | v.FormatFields = setting(
        v.FORMAT,
        "Format of a line in Python's logging terms; for `json` also a list of record attributes.",
        default="%(asctime)s %(levelname)s: %(message)s",
    )
    dateformat: str = text("Format of the time, as of strftime; empty: ISO-like with milliseconds.")
    static_fields: Mapping[str, Any] = setting(v.MAP, "Fields added to every JSON line.", default={})
    max_queue_size: int = setting(
        v.INT,
        "Lines that may wait for a slow disk or terminal; further ones are dropped and counted.",
        default=1000,
        least=1,
    )
    dir: str = text("Directory of the log files; empty: standard error.")
    file_num: int = setting(v.INT, "Rotated log files that are kept.", default=4, least=0)
    file_size: int = setting(v.INT, "Size at which a log file is rotated.", default=25_000_000, least=1, unit="bytes")
    mode: int | None = setting(v.MODE, "Permissions of the log files; by default those that the umask leaves.")
    loggers: Mapping[str, str] = setting(v.LEVELS, "Levels of single loggers by name.", default={})
    deduplicate_heartbeat_logs: bool = flag(
        "Leave out a line of the loop that only repeats the one before it; else it comes again at each look around, at "
        "most once a second.",
        default=True,
    )


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How a new cluster is made; looked at only while there is none."""

    dcs: Mapping[str, Any] = setting(v.MAP, "The dynamic configuration that a new cluster starts with.", default={})
    method: str = text(
        "How a new cluster is made: `initdb`, or the section of `bootstrap` with the command that makes it.",
        default="initdb",
    )
    initdb: v.Options = setting(
        v.OPTIONS, "Options of initdb.", default=(), example=["data-checksums", {"encoding": "UTF8"}]
    )
    post_bootstrap: str = text(
        "Command run once after a new cluster was made; its last argument is a connection string.",
        default="",
        aliases=("post_init",),
    )
    users: Mapping[str, Any] = setting(
        v.MAP,
        "Roles to create, removed in Patroni 4 as well.",
        default={},
        moot="create roles by SQL, in a new cluster with the program of bootstrap.post_bootstrap",
    )
    pg_hba: tuple[str, ...] = setting(
        v.LINES, "Lines of pg_hba.conf of a new cluster; an old setting, use `postgresql.pg_hba`.", default=()
    )


@dataclass(frozen=True, slots=True)
class Etcd:
    """The etcd cluster, spoken to by its v3 API; one of hosts, host, url, proxy, srv is needed."""

    host: str = text("The one endpoint, HOST:PORT.")
    hosts: tuple[str, ...] = setting(
        v.WORDS,
        "The endpoints, a list or words with commas.",
        default=(),
        example="10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379",
    )
    url: str = text("The one endpoint as a URL; may carry user and password.", secret=True)
    proxy: str = text("URL of a proxy in front of etcd, used instead of `url`.", secret=True)
    srv: str = text("Domain whose SRV records name the endpoints, when neither hosts, host, url nor proxy does.")
    srv_suffix: str = text("Suffix of the SRV service names, such as `foo` in `_etcd-client-foo._tcp.DOMAIN`.")
    use_proxies: bool = flag("The hosts are proxies: etcd is not asked for its members, which are else found by that.")
    protocol: str = word("Protocol of endpoints given without one.", default="http", choices=("http", "https"))
    username: str = text("User of etcd.")
    password: v.Secret = secret("Password of that user.")
    cacert: str = text("File with the certificate authorities that may sign etcd's certificates.")
    cert: str = text("File with this node's client certificate.")
    key: str = text("File with its key, if not in the same file.")
    transport: str = word(
        "How etcd's v3 API is reached: its JSON gateway, or gRPC (needs `pip install 'haagent[grpc]'`).",
        default="http",
        choices=("http", "grpc"),
    )


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the REST API; needed for requests that change something."""

    username: str = text("User name.")
    password: v.Secret = secret("Password.")


@dataclass(frozen=True, slots=True)
class RestApi:
    """The REST API, for load balancers, the other agents and operators."""

    listen: v.Address = setting(
        v.API_ADDRESS, "Where it listens; by default at `connect_address`.", example="0.0.0.0:8008"
    )
    connect_address: v.Address = setting(
        v.API_ADDRESS, "Where other nodes reach it; by default what `listen` says.", example="10.0.0.1:8008"
    )
    authentication: Login = section(Login)
    certfile: str = text("File with the server's certificate; turns TLS on.")
    keyfile: str = text("File with its key.")
    keyfile_password: v.Secret = secret("Password of the key.")
    cafile: str = text("File with the authorities that may sign clients' certificates.")
    ciphers: str = text("Cipher suites, in OpenSSL's terms.")
    verify_client: str = word(
        "Who must show a client certificate: nobody, those who change something, everybody.",
        default="none",
        choices=("none", "optional", "required"),
    )
    allowlist: tuple[str, ...] = setting(
        v.WORDS, "Hosts and networks that may change something; empty: all.", default=()
    )
    allowlist_include_members: bool = flag("Members of the cluster may change something.")
    http_extra_headers: Mapping[str, Any] = setting(v.MAP, "Headers added to every reply.", default={})
    https_extra_headers: Mapping[str, Any] = setting(v.MAP, "Headers added when TLS is on.", default={})
    server_tokens: str = word(
        "What the Server header tells.",
        default="Original",
        choices=("Original", "Minimal", "ProductOnly"),
    )
    request_queue_size: int = setting(
        v.INT, "Connections that may wait to be accepted; never less than 128 are.", default=128, least=1
    )
    thread_pool_size: int = setting(
        v.INT, "Threads of the REST API.", default=5, least=1, moot="the agent's REST API has no threads"
    )


@dataclass(frozen=True, slots=True)
class Ctl:
    """How the command line reaches the agents."""

    authentication: Login = section(Login)
    insecure: bool = flag("Do not check the agents' certificates.")
    cacert: str = text("File with the authorities that may sign them; by default `restapi.cafile`.")
    certfile: str = text("File with the client certificate shown to agents.")
    keyfile: str = text("File with its key.")
    keyfile_password: v.Secret = secret("Password of the key.")


_USUAL = Settings()
DYNAMIC = Where.DYNAMIC


@dataclass(frozen=True, slots=True)
class Watchdog:
    """The kernel's watchdog device, which resets the machine when nobody feeds it."""

    mode: str = word(
        "Whether it is used: not at all, where it works, or so that no node leads without it.",
        default="off",
        choices=("off", "automatic", "required"),
    )
    device: str = text("The device.", default="/dev/watchdog")
    driver: str = word(
        "How the device is spoken to; `testing`: it is a FIFO.", default="default", choices=("default", "testing")
    )
    safety_margin: int = setting(
        v.INT,
        "How long before the leader key's end it fires; 0: as late as whole seconds allow; -1: at half the ttl.",
        default=5,
        least=-1,
        unit="s",
    )


@dataclass(frozen=True, slots=True)
class TagFields:
    """What the operator says of this node; further tags of any name are published as they are."""

    nofailover: bool = flag("This node never becomes primary.")
    failover_priority: int | None = setting(
        v.INT, "Preference among equal candidates, higher first; 0 or less: never primary."
    )
    noloadbalance: bool = flag("`/replica` answers 503 here.")
    clonefrom: bool = flag("New standbys are rather cloned from this node than from the leader.")
    nosync: bool = flag("This node never acknowledges commits synchronously.")
    sync_priority: int | None = setting(v.INT, "Preference as synchronous standby, higher first; 0 or less: never.")
    nostream: bool = flag("This node takes WAL from the archive only.")
    replicatefrom: str = text("Name of the member from which this node replicates.")


@dataclass(frozen=True, slots=True)
class Own:
    """haagent's own settings, which Patroni does not know."""

    state_dir: str = text(
        "Directory of the agent's own small files; by default the data directory's path and `.haagent`.", default=""
    )
    peer_timeout: float = seconds(
        "How long an election waits for another node's answer.", default=_USUAL.peer_timeout, least=0.05, most=5
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """The whole file."""

    scope: str = text("Name of the cluster.", required=True, example="demo")
    namespace: str = text("Where in etcd all clusters are kept.", default="/service/")
    name: str = text("Name of this node, unique in its cluster.", required=True, example="node1")
    haagent: Own = section(Own)
    log: Log = section(Log)
    etcd3: Etcd = section(Etcd)
    restapi: RestApi = section(RestApi)
    ctl: Ctl = section(Ctl)
    bootstrap: Bootstrap = section(Bootstrap)
    postgresql: Postgresql = section(Postgresql)
    watchdog: Watchdog = section(Watchdog)
    tags: TagFields = section(TagFields)
    citus: Mapping[str, Any] = setting(v.MAP, "Citus clusters.", default={}, moot="Citus clusters are not managed")
    thread_pool_size: int = setting(v.INT, "Threads.", default=5, least=1, moot="the agent has no such pool")
    thread_stack_size: str = text("Stack of such threads.", default="512kB", moot="the agent has no such threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic:
    """The dynamic configuration: the `config` key, at first `bootstrap.dcs`; the same for all nodes."""

    ttl: float = seconds(
        "How long the leader key outlives its holder: the longest part of a failover.",
        default=_USUAL.ttl,
        where=DYNAMIC,
    )
    loop_wait: float = seconds(
        "The longest time between two looks around; by default three tenths of `ttl`.",
        default=_USUAL.loop_wait,
        where=DYNAMIC,
    )
    retry_timeout: float = seconds(
        "How long etcd may be silent without harm; by default three tenths of `ttl`.",
        default=_USUAL.retry_timeout,
        where=DYNAMIC,
    )
    maximum_lag_on_failover: int = setting(
        v.INT,
        "How far behind a standby may be and still be elected.",
        default=_USUAL.maximum_lag_on_failover,
        least=0,
        unit="bytes",
        where=DYNAMIC,
    )
    maximum_lag_on_syncnode: int = setting(
        v.INT,
        "How far behind a synchronous standby may be and stay one; 0 or less: any.",
        default=_USUAL.maximum_lag_on_syncnode,
        unit="bytes",
        where=DYNAMIC,
    )
    primary_race_backoff: float = seconds(
        "Standbys wait so long before an election while WAL still arrives.",
        default=0,
        least=0,
        where=DYNAMIC,
        moot="no primary writes WAL any more when an election begins, as its permit ends before its key may be taken; "
        "for a longer silence of an agent raise ttl",
    )
    max_timelines_history: int = setting(
        v.INT,
        "Promotions kept in the `history` key; 0: all.",
        default=_USUAL.max_timelines_history,
        least=0,
        where=DYNAMIC,
    )
    check_timeline: bool = flag(
        "Only nodes of the newest timeline may be elected.",
        default=_USUAL.check_timeline,
        where=DYNAMIC,
    )
    primary_start_timeout: float = seconds(
        "How long a crashed primary may take to come back in place; 0: hand over at once.",
        default=_USUAL.primary_start_timeout,
        least=0,
        where=DYNAMIC,
        aliases=("master_start_timeout",),
    )
    primary_stop_timeout: float = seconds(
        "How long PostgreSQL may take to stop before it is killed; 0: pg_ctl_timeout, and never past the permit.",
        default=_USUAL.primary_stop_timeout,
        where=DYNAMIC,
        aliases=("master_stop_timeout",),
    )
    pause: bool = flag("The agents watch and keep their hands off.", default=_USUAL.pause, where=DYNAMIC)
    synchronous_mode: str = word(
        "Whether commits wait for standbys, and only those may be elected.",
        default=_USUAL.synchronous_mode,
        choices=("off", "on", "quorum"),
        where=DYNAMIC,
    )
    synchronous_mode_strict: bool = flag(
        "Without a synchronous standby commits wait.",
        default=_USUAL.synchronous_mode_strict,
        where=DYNAMIC,
    )
    synchronous_node_count: int = setting(
        v.INT,
        "How many standbys acknowledge each commit.",
        default=_USUAL.synchronous_node_count,
        least=1,
        where=DYNAMIC,
    )
    failsafe_mode: bool = flag(
        "A primary without etcd goes on while all members consent.",
        default=_USUAL.failsafe_mode,
        where=DYNAMIC,
    )
    standby_cluster: Mapping[str, Any] | None = setting(
        v.MAP,
        "The cluster follows a primary elsewhere, and nothing here is writable: `host` (several with commas between "
        "them: the primary among those), `port`, `primary_slot_name`, `create_replica_methods`, `restore_command`; on "
        "the standby leader alone `archive_cleanup_command`, `recovery_min_apply_delay`.",
        where=DYNAMIC,
        example={"host": "10.1.0.1", "port": 5432, "primary_slot_name": "dc2"},
    )
    member_slots_ttl: float = seconds(
        "How long an absent member's replication slot is kept.",
        default=_USUAL.member_slots_ttl,
        least=0,
        where=DYNAMIC,
    )
    slots: Mapping[str, Any] = setting(
        v.MAP,
        "Permanent replication slots by name: type (physical or logical), and for logical ones database and plugin.",
        default={},
        where=DYNAMIC,
    )
    ignore_slots: tuple[Mapping[str, Any], ...] = setting(
        v.MAPS,
        "Properties (name, type, database, plugin) of slots that are left alone; others that nobody listed go.",
        default=(),
        where=DYNAMIC,
    )
    postgresql: Postgresql = section(Postgresql)


FOREIGN = ("consul", "zookeeper", "exhibitor", "kubernetes", "raft", "etcd")
"""Sections of stores that haagent does not speak to; ``etcd`` is etcd's v2 API."""


LOCAL_FIELDS = tuple(f for f in walk(Sections) if f.where is not Where.DYNAMIC)
"""What this node's file may say."""

DYNAMIC_FIELDS = tuple(f for f in walk(Dynamic) if f.where is not Where.LOCAL)
"""What the dynamic configuration may say."""

FIELDS = (*LOCAL_FIELDS, *DYNAMIC_FIELDS)
"""All settings as one table."""
