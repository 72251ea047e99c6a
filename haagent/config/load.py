"""From a YAML file and the environment to one frozen ``Config``, or to a list of everything that is wrong.

Order of precedence: the file, then ``PATRONI_*``, then ``HAAGENT_*`` environment variables. Nothing outside the file is
touched: no name is resolved, no port is opened, no directory is looked into.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from haagent import __version__
from haagent.config import dynamic, logs, methods, schema, tree
from haagent.config.field import Path
from haagent.config.fields import FOREIGN, LOCAL_FIELDS, Dynamic, Etcd, Log, RestApi, Sections
from haagent.config.postgresql import Authentication, Role
from haagent.config.problems import ConfigError, Problem, shown
from haagent.config.values import Address, Listen, Secret
from haagent.core import lease
from haagent.core.facts import Document, Me, Settings, Tags
from haagent.core.methods import BootstrapMethod

RESERVED_NAME = "__patroni_strict_sync_replica_placeholder__"

_ADDRESS_SECTIONS = ("postgresql", "restapi")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Config(Sections):
    """All settings of this node, ready for use; its repr shows none of them, as free maps may hold secrets."""

    source: str = ""
    """Where they came from, as an operator would name it."""
    warnings: tuple[str, ...] = ()
    bootstrap_document: Document = field(default_factory=dict)
    """``bootstrap.dcs`` with its timing filled in."""
    endpoints: tuple[str, ...] = ()
    """etcd's endpoints as URLs, without credentials; none when SRV records name them."""
    published_tags: Document = field(default_factory=dict)
    bootstrap_method: BootstrapMethod | None = None
    """The operator's own way to make a cluster; None: initdb."""
    given_postgresql: Mapping[str, Any] = field(default_factory=dict)
    """What the file itself says of PostgreSQL, without defaults."""
    origins: Mapping[Path, str] = field(default_factory=dict)
    """Where each setting that is not at its default was given: the file, or a variable of the environment."""

    def __repr__(self) -> str:
        return f"Config({self.scope}/{self.name} from {self.source})"

    @property
    def prefix(self) -> str:
        """Below which all keys of this cluster stand, with a slash at its end."""
        return f"{self.namespace}{self.scope}/"

    def me(self) -> Me:
        """This node as the core knows it."""
        address = self.postgresql.connect_address
        scheme = "https" if self.restapi.certfile else "http"
        return Me(
            name=self.name,
            scope=self.scope,
            host=address.host,
            port=address.port,
            conn_url=f"postgres://{address}/postgres",
            api_url=f"{scheme}://{self.restapi.connect_address}/patroni",
            tags=self.node_tags(),
            version=__version__,
            proxy_url=f"postgres://{proxy}/postgres" if (proxy := self.postgresql.proxy_address) else "",
        )

    def node_tags(self) -> Tags:
        """The tags as the core knows them and as they are published."""
        tags = self.tags
        return Tags(
            nofailover=tags.nofailover,
            failover_priority=tags.failover_priority,
            noloadbalance=tags.noloadbalance,
            clonefrom=tags.clonefrom,
            nosync=tags.nosync,
            sync_priority=tags.sync_priority,
            nostream=tags.nostream,
            replicatefrom=tags.replicatefrom or None,
            published=self.published_tags,
        )

    def settings(self, document: Document | None) -> tuple[Settings, tuple[str, ...]]:
        """The settings in use of the dynamic configuration (None: of ``bootstrap.dcs``), and what was adjusted.

        ConfigError when the document cannot be used; the caller then keeps the settings it has.
        """
        own = document is None
        return dynamic.settings(
            self.bootstrap_document if document is None else document,
            self.given_postgresql,
            self.haagent.peer_timeout,
            self.bootstrap_document,
            self.source if own else "dynamic configuration",
            ("bootstrap", "dcs") if own else (),
        )

    def check(self, document: Document) -> tuple[Settings, tuple[str, ...]]:
        """The settings of a document that is about to be written: nothing is adjusted for its author.

        ConfigError when it cannot be used as it is, deadlines that contradict each other among the reasons.
        """
        found, notes = self.settings(document)
        asked = {name: document.get(name) for name in ("ttl", "loop_wait", "retry_timeout")}
        wanted = {name: float(value) for name, value in asked.items() if value is not None}
        try:
            lease.timing(**{name: wanted.get(name, getattr(found, name)) for name in asked})
        except ValueError as why:
            raise ConfigError((Problem("dynamic configuration", ("ttl",), str(why)),)) from None
        return found, notes


def load(path: str | None, environ: Mapping[str, str], *, strict: bool = False, client: bool = False) -> Config:
    """Read and check the settings of a file (None: of the environment alone).

    ``strict`` makes unknown names errors; ``client`` asks only for what a command-line client needs. ConfigError with
    all that is wrong.
    """
    raw, source, problems = _raw(path, environ)
    if tree.PREFIXES[0] + tree.WHOLE in environ and path is None:
        environ = {}
    root = raw if isinstance(raw, dict) else {}
    origins, wrong, unknown = tree.environment(environ, root)
    problems += [*wrong, *_foreign(root, source)]
    known = {key: value for key, value in root.items() if key not in FOREIGN}
    given, found = schema.read(Sections, known if isinstance(raw, dict) else raw, source, origins)
    unknown = [*found.unknown, *unknown]
    problems += [*found.errors, *(unknown if strict else [])]
    warnings = [*found.warnings, *([] if strict else unknown)]
    places = {row.path: origins.get(row.path, source) for row in LOCAL_FIELDS if _is_given(given, row.path)}
    return replace(_Finish(source, root, given, client, problems, warnings).config(), origins=places)


def _is_given(given: Any, path: Path) -> bool:
    for part in path:
        if not isinstance(given, dict) or part not in given:
            return False
        given = given[part]
    return True


def _raw(path: str | None, environ: Mapping[str, str]) -> tuple[Any, str, list[Problem]]:
    """The tree of the file, or of the environment variable that holds a whole one."""
    if path is None:
        for prefix in reversed(tree.PREFIXES):
            name = prefix + tree.WHOLE
            if environ.get(name):
                return _or_empty(tree.parse(environ[name], name)), f"environment variable {name}", []
        return {}, "environment", []
    try:
        with open(path, encoding="utf-8") as file:
            return _or_empty(tree.parse(file.read(), path)), path, []
    except OSError as error:
        raise ConfigError([Problem(path, (), f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(path, (), f"is not UTF-8 text: byte {error.start} is not")]) from None


def _or_empty(value: Any) -> Any:
    """An empty file is an empty map."""
    return {} if value is None else value


def _foreign(root: Mapping[str, Any], source: str) -> Iterator[Problem]:
    for name in FOREIGN:
        if root.get(name) is not None:
            advice = "haagent keeps its cluster in etcd only, by its v3 API: use an etcd3 section"
            if name == "etcd":
                advice = (
                    "this is etcd's v2 API, whose keys v3 does not see; haagent speaks v3 only: use an etcd3 section"
                )
            yield Problem(source, (name,), advice)


class _Finish:
    """The last steps: what one setting says of another."""

    def __init__(
        self,
        source: str,
        root: Mapping[str, Any],
        given: dict[str, Any],
        client: bool,
        problems: list[Problem],
        warnings: list[Problem],
    ) -> None:
        self._source, self._root, self._given, self._client = source, root, given, client
        self._problems, self._warnings = problems, warnings

    def config(self) -> Config:
        """The finished settings; ConfigError with everything that is wrong."""
        self._required()
        self._names()
        local = dict(self._given.get("postgresql", {}))
        for section in _ADDRESS_SECTIONS:
            self._addresses(section)
        document = self._bootstrap()
        base = schema.build(Sections, self._given)
        etcd, endpoints = self._etcd(base.etcd3)
        self._pairs(base.restapi, base.tags)
        self._format(base.log)
        method = self._method(base.bootstrap.method)
        if self._problems:
            raise ConfigError(self._problems)
        config = Config(
            **{name: getattr(base, name) for name in Sections.__dataclass_fields__},
            source=self._source,
            bootstrap_document=document,
            endpoints=endpoints,
            published_tags=_published(self._root.get("tags"), base.tags),
            bootstrap_method=method,
            given_postgresql=local,
        )
        config = replace(config, etcd3=etcd, namespace=_namespace(base.namespace), **_local_paths(config))
        _, adjusted = config.settings(None)
        return replace(config, warnings=(*(str(w) for w in self._warnings), *adjusted))

    def _wrong(self, path: Path, expected: str, value: str = "") -> None:
        """Note a problem, unless one is known already at that place, above it or below it."""
        if not any(p.path and p.path[: len(path)] == path[: len(p.path)] for p in self._problems):
            self._problems.append(Problem(self._source, path, expected, value))

    def _at(self, *path: str) -> Any:
        value: Any = self._given
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def _required(self) -> None:
        wanted = [("scope",)] if self._client else [("scope",), ("name",), ("postgresql", "data_dir")]
        for path in wanted:
            if not self._at(*path):
                self._wrong(path, "must be given")

    def _names(self) -> None:
        for key in ("scope", "name"):
            value = self._at(key)
            if value and ("/" in value or value != value.strip() or not value.isprintable()):
                self._wrong(
                    (key,), "expected a name without slashes, outer blanks and control characters", shown(value)
                )
        if self._at("name") == RESERVED_NAME:
            self._wrong(("name",), "this name is reserved")

    def _addresses(self, section: str) -> None:
        """Let ``listen`` and ``connect_address`` stand in for each other."""
        listen, connect = self._at(section, "listen"), self._at(section, "connect_address")
        first = listen.first if isinstance(listen, Listen) else listen
        if connect is None and first is None:
            if not self._client:
                self._wrong((section, "connect_address"), "must be given: HOST:PORT by which other nodes reach it")
            first = connect = Address("127.0.0.1", 5432 if section == "postgresql" else 8008)
        elif connect is None and first.wildcard and not self._client:
            text = f"must be given, as {section}.listen is every address of this machine"
            self._wrong((section, "connect_address"), text)
        elif connect is not None and connect.wildcard and not self._client:
            self._wrong((section, "connect_address"), "expected an address that other nodes can reach", str(connect))
        given = self._given.setdefault(section, {})
        given["connect_address"] = connect or first
        if listen is None:
            given["listen"] = connect if section == "restapi" else Listen((connect.host,), connect.port)

    def _bootstrap(self) -> Document:
        """``bootstrap.dcs`` with its timing; ConfigError's problems noted when it is wrong."""
        given = self._at("bootstrap", "dcs") or {}
        at = ("bootstrap", "dcs")
        try:
            dynamic.settings(given, self._at("postgresql") or {}, 0.5, {}, self._source, at)
            read, _ = schema.read(Dynamic, given, self._source, at=at)
            timing = dynamic.with_timing(read)
            lease.timing(timing["ttl"], timing["loop_wait"], timing["retry_timeout"])
            return dynamic.with_timing(given)
        except ConfigError as error:
            self._problems += error.problems
        except ValueError as error:
            self._wrong(at, str(error))
        return {}

    def _method(self, name: str) -> BootstrapMethod | None:
        """The custom bootstrap, unless its section is wrong."""
        try:
            return methods.bootstrap_method(name, self._at("bootstrap") or {}, self._source)
        except ConfigError as error:
            self._problems += error.problems
        return None

    def _etcd(self, etcd: Etcd) -> tuple[Etcd, tuple[str, ...]]:
        """The section without credentials in its URLs, and the endpoints."""
        etcd, endpoints = self._endpoints(etcd)
        if etcd.srv_suffix and not etcd.srv:
            self._wrong(("etcd3", "srv"), "must be given with etcd3.srv_suffix")
        if etcd.transport == "grpc" and not etcd.cacert and any(url.startswith("https:") for url in endpoints):
            self._wrong(("etcd3", "cacert"), "must be given: gRPC does not speak to a server that it cannot verify")
        return etcd, endpoints

    def _endpoints(self, etcd: Etcd) -> tuple[Etcd, tuple[str, ...]]:
        for key in ("proxy", "url"):
            text = getattr(etcd, key)
            if text:
                etcd, endpoint = self._url(etcd, key, text)
                return etcd, (endpoint,)
        hosts = etcd.hosts or ((etcd.host,) if etcd.host else ())
        if not hosts and not etcd.srv:
            self._wrong(("etcd3",), "must be given: one of hosts, host, url, proxy or srv")
        endpoints = []
        for host in hosts:
            match = re.fullmatch(r"(https?://)?(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]@,]+)(:[0-9]{1,5})?/?", host)
            if not match:
                self._wrong(("etcd3", "hosts" if etcd.hosts else "host"), "expected HOST:PORT", shown(host))
                continue
            endpoints.append(f"{match[1] or etcd.protocol + '://'}{match[2]}{match[3] or ':2379'}")
        return etcd, tuple(dict.fromkeys(endpoints))

    def _url(self, etcd: Etcd, key: str, text: str) -> tuple[Etcd, str]:
        """Take the credentials out of a URL."""
        try:
            url = urlsplit(text)
            port = url.port or 2379
        except ValueError:
            url, port = urlsplit(""), 0
        if url.scheme not in {"http", "https"} or not url.hostname:
            self._wrong(("etcd3", key), "expected http(s)://HOST:PORT", shown(text, secret=True))
            return etcd, ""
        if url.username and not etcd.username:
            password = Secret(unquote(url.password or ""))
            etcd = replace(etcd, username=unquote(url.username), password=password)
        endpoint = f"{url.scheme}://{Address(url.hostname, port)}"
        etcd = replace(etcd, protocol=url.scheme)
        return (replace(etcd, url=endpoint) if key == "url" else replace(etcd, proxy=endpoint)), endpoint

    def _format(self, log: Log) -> None:
        try:
            logs.formatter(log)
        except ValueError as error:
            self._wrong(
                ("log", "format"), f"expected a format in Python's logging terms: {error}", shown(str(log.format))
            )

    def _pairs(self, rest: RestApi, tags: Any) -> None:
        """Settings that make sense only together."""
        for name in ("restapi", "ctl"):
            login = self._at(name, "authentication") or {}
            if bool(login.get("username")) != bool(login.get("password")):
                self._wrong((name, "authentication"), "username and password must both be given, or neither")
        if rest.keyfile and not rest.certfile:
            self._wrong(("restapi", "certfile"), "must be given with restapi.keyfile; without it there is no TLS")
        if rest.verify_client != "none" and not (rest.certfile and rest.cafile):
            self._wrong(("restapi", "verify_client"), "needs restapi.certfile and restapi.cafile", rest.verify_client)
        if tags.nofailover and (tags.failover_priority or 0) > 0:
            text = "nofailover is true and failover_priority above 0: the node never becomes primary"
            self._warnings.append(Problem(self._source, ("tags",), text))


def _namespace(text: str) -> str:
    """With one slash at its begin and its end."""
    return f"/{text.strip('/')}/" if text.strip("/") else "/"


DROPPED_WHEN_FALSE = ("clonefrom", "nofailover", "noloadbalance", "nosync", "nostream")
PRIORITY_OF = {"nofailover": "failover_priority", "nosync": "sync_priority"}


def _published(raw: Any, tags: Any) -> dict[str, Any]:
    """The tags as they stand in the member key: as given, without those that say nothing."""
    given = {name: value for name, value in (raw if isinstance(raw, dict) else {}).items() if value is not None}

    def says_something(name: str) -> bool:
        return name not in DROPPED_WHEN_FALSE or bool(getattr(tags, name)) or PRIORITY_OF.get(name) in given

    return {name: value for name, value in given.items() if says_something(name)}


def _local_paths(config: Config) -> dict[str, Any]:
    """The sections whose defaults depend on other settings, with paths made absolute."""
    postgresql = config.postgresql
    data_dir = os.path.abspath(postgresql.data_dir) if postgresql.data_dir else ""
    state_dir = os.path.abspath(config.haagent.state_dir) if config.haagent.state_dir else f"{data_dir}.haagent"
    filled = replace(
        postgresql,
        data_dir=data_dir,
        config_dir=os.path.abspath(postgresql.config_dir) if postgresql.config_dir else data_dir,
        bin_dir=os.path.abspath(postgresql.bin_dir) if postgresql.bin_dir else "",
        pgpass=os.path.abspath(postgresql.pgpass) if postgresql.pgpass else str(PurePosixPath(state_dir) / "pgpass"),
        authentication=_roles(postgresql.authentication),
    )
    return {"postgresql": filled, "haagent": replace(config.haagent, state_dir=state_dir)}


def _roles(given: Authentication) -> Authentication:
    """The three roles; the superuser is by default named as this process's user, the others are by default it."""
    superuser = given.superuser if given.superuser.username else replace(given.superuser, username=_user())

    def other(role: Role) -> Role:
        return role if role.username else superuser

    return Authentication(superuser, other(given.replication), other(given.rewind))


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "postgres"
