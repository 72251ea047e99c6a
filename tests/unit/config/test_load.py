"""Files that load and files that do not, with what is said of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haagent.config.fields import FIELDS, LOCAL_FIELDS
from haagent.config.load import load
from haagent.config.problems import ConfigError
from haagent.config.values import Address, Listen, Secret, arguments
from haagent.core.methods import BootstrapMethod, ReplicaMethod
from haagent.wiring import postgres_settings
from tests.unit.config.files import SMALLEST, a_tree, from_text, loaded, problems


def test_the_smallest_file(tmp_path: Path) -> None:
    config = loaded(tmp_path, SMALLEST)
    assert config.warnings == ()
    assert config.restapi.listen == config.restapi.connect_address == Address("10.0.0.1", 8008)
    assert config.postgresql.listen == Listen(("10.0.0.1",), 5432)
    assert config.postgresql.config_dir == config.postgresql.data_dir == "/srv/pg"
    assert config.postgresql.pgpass == "/srv/pg.haagent/pgpass"
    assert config.namespace == "/service/"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"scope": ...}, "/node.yml: scope: must be given"),
        ({"name": None}, "/node.yml: name: must be given"),
        ({"postgresql__data_dir": ...}, "/node.yml: postgresql.data_dir: must be given"),
        ({"etcd3": ...}, "/node.yml: etcd3: must be given: one of hosts, host, url, proxy or srv"),
        ({"name": "a/b"}, "/node.yml: name: found 'a/b'; expected a name without slash"),
        ({"name": "__patroni_strict_sync_replica_placeholder__"}, "/node.yml: name: this name is reserved"),
        ({"log__level": "LOUD"}, "/node.yml: log.level: found 'LOUD'; expected a logging level"),
        ({"log__type": "xml"}, "/node.yml: log.type: found 'xml'; expected one of plain, json"),
        ({"log__max_queue_size": 0}, "/node.yml: log.max_queue_size: found 0; expected a whole number at least 1"),
        ({"log__file_num": "many"}, "/node.yml: log.file_num: found 'many'; expected a whole number"),
        ({"log__mode": 0o1777}, "/node.yml: log.mode: found 1023; expected octal permissions"),
        ({"log__format": "%(nosuch)s"}, "/node.yml: log.format: found '%(nosuch)s'; expected a format"),
        ({"log__format": "%(message"}, "/node.yml: log.format: found '%(message'; "),
        ({"log__loggers": {"asyncio": 1}}, "/node.yml: log.loggers: found a map; expected a logging level"),
        ({"etcd3__hosts": "a:b:c"}, "/node.yml: etcd3.hosts: found 'a:b:c'; expected HOST:PORT"),
        ({"etcd3__protocol": "ftp"}, "/node.yml: etcd3.protocol: found 'ftp'; expected one of http, https"),
        ({"restapi__listen": "0.0.0.0:99999"}, "/node.yml: restapi.listen: found '0.0.0.0:99999'; expected a port"),
        ({"restapi__connect_address": "0.0.0.0:8008"}, "/node.yml: restapi.connect_address: found 0.0.0.0:8008; "),
        ({"restapi__keyfile": "/k"}, "/node.yml: restapi.certfile: must be given with restapi.keyfile"),
        ({"restapi__verify_client": "required"}, "/node.yml: restapi.verify_client: found required; needs"),
        ({"restapi__authentication": {"username": "u"}}, "/node.yml: restapi.authentication: username and password"),
        ({"postgresql__connect_address": "::1:5432"}, "/node.yml: postgresql.connect_address: found '::1:5432'; "),
        (
            {"postgresql__use_unix_socket": "maybe"},
            "/node.yml: postgresql.use_unix_socket: found 'maybe'; expected true",
        ),
        ({"postgresql__parameters": [1]}, "/node.yml: postgresql.parameters: found a list; expected a map"),
        ({"postgresql__pg_hba": {"a": 1}}, "/node.yml: postgresql.pg_hba: found a map; expected text"),
        ({"bootstrap__initdb": [["x"]]}, "/node.yml: bootstrap.initdb: found a list; expected a list of words and"),
        ({"tags__failover_priority": "high"}, "/node.yml: tags.failover_priority: found 'high'; expected a whole"),
        ({"haagent__peer_timout": 1}, "/node.yml: haagent.peer_timout: no such setting; did you mean peer_timeout?"),
        ({"haagent__peer_timeout": 9}, "/node.yml: haagent.peer_timeout: found 9; expected seconds"),
        ({"bootstrap__dcs": {"ttl": "long"}}, "/node.yml: bootstrap.dcs.ttl: found 'long'; expected seconds"),
        ({"bootstrap__dcs": {"ttl": 2}}, "/node.yml: bootstrap.dcs: ttl is 2 s; it must be at least 3 s"),
        ({"bootstrap__dcs": {"ttl": 10, "loop_wait": 10}}, "/node.yml: bootstrap.dcs: loop_wait + retry_timeout = "),
        (
            {"bootstrap__dcs": {"postgresql": {"parameters": {"max_connections": "x"}}}},
            "/node.yml: bootstrap.dcs.postgresql.parameters: expected a whole number for max_connections",
        ),
    ],
)
def test_an_error_names_file_key_value_and_what_is_expected(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    found = problems(tmp_path, a_tree(**change))
    assert len(found) == 1, found
    assert found[0].startswith(expected), found


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    tree = a_tree(log={"level": "LOUD", "type": 3}, postgresql__listen="x:y", restapi="off", etcd3__hosts={}, name=...)
    tree |= {"nmae": "b", "consul": {"host": "x"}, "bootstrap": {"dcs": {"ttl": 1}}, "haagent": {"x": 1}}
    told = [p.split(": ")[1] for p in problems(tmp_path, tree, strict=True)]
    assert len(told) == len(set(told))
    assert set(told) == {
        "consul",
        "haagent.x",
        "log.level",
        "log.type",
        "etcd3.hosts",
        "restapi",
        "postgresql.listen",
        "nmae",
        "name",
        "bootstrap.dcs",
    }


def test_a_section_that_is_no_map_is_never_shown(tmp_path: Path) -> None:
    found = problems(tmp_path, a_tree(restapi__authentication="admin:hunter2"))
    assert found == ["/node.yml: restapi.authentication: found *** (hidden); expected a map of settings"]


def test_no_error_shows_a_secret(tmp_path: Path) -> None:
    tree = a_tree(
        etcd3={"url": "etcd://user:hunter2@x:1", "password": ["hunter2"]},
        postgresql__authentication={"superuser": {"password": True}, "replication": {"password": {"a": "hunter2"}}},
    )
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, tree)
    assert "hunter2" not in str(caught.value)
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("store", ["consul", "zookeeper", "exhibitor", "kubernetes", "raft"])
def test_foreign_stores_are_refused_by_name(tmp_path: Path, store: str) -> None:
    found = problems(tmp_path, a_tree(**{store: {"host": "x"}}))
    assert found == [f"/node.yml: {store}: haagent keeps its cluster in etcd only, by its v3 API: use an etcd3 section"]


def test_the_section_of_etcds_v2_api_is_refused_with_advice(tmp_path: Path) -> None:
    assert "v2 API" in problems(tmp_path, a_tree(etcd={"host": "x"}))[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scope: [a\nname: b\n", "line 2, column 5: not valid YAML"),
        ("scope: a\n\tname: b\n", "line 2, column 1: not valid YAML"),
        ("scope: a\nscope: b\n", "line 2, column 1: not valid YAML: a key stands twice"),
        ("scope: !!python/object:os.system x\n", "line 1, column 8: not valid YAML"),
        ("a: &a [*a]\n", "levels"),
        ("a: \x01\n", "not valid YAML"),
        ("a: !!timestamp 2001-99-99\n", "not valid YAML"),
        ("- a\n", "expected a map of settings"),
        ("just words\n", "expected a map of settings"),
    ],
)
def test_what_is_no_yaml_map_is_refused_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_text(tmp_path, text)
    assert expected in str(caught.value)


def test_a_yaml_bomb_is_refused(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    with pytest.raises(ConfigError, match="more than 100000 values"):
        from_text(tmp_path, bomb)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yml: cannot be read: No such file"):
        load(str(tmp_path / "none.yml"), {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(str(tmp_path), {})
    (tmp_path / "latin").write_bytes(b"scope: \xe9\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text: byte 7 is not"):
        load(str(tmp_path / "latin"), {})


def test_unknown_names_are_warnings_with_the_nearest_known_one(tmp_path: Path) -> None:
    tree = a_tree(postgresql__data_dirs="/x", logs={"level": "INFO"}, log__levle="INFO", zzz=1)
    config = loaded(tmp_path, tree)
    assert [w.partition("node.yml: ")[2] for w in config.warnings] == [
        "log.levle: no such setting; did you mean level?",
        "logs: no such setting; did you mean log?",
        "postgresql.data_dirs: no such setting; did you mean data_dir?",
        "zzz: no such setting",
    ]
    assert len(problems(tmp_path, tree, strict=True)) == 4


def test_settings_in_the_wrong_place_are_told(tmp_path: Path) -> None:
    config = loaded(tmp_path, a_tree(ttl=30, postgresql__use_slots=False))
    assert any(": ttl: has no effect here; it belongs under bootstrap.dcs" in w for w in config.warnings)
    assert any("postgresql.use_slots: belongs to the dynamic configuration" in w for w in config.warnings)
    assert config.settings(None)[0].use_slots


def _moot(key: str) -> str:
    return next(row.moot for row in FIELDS if row.key == key)


def test_what_has_no_effect_is_told_and_what_asks_for_nothing_is_not(tmp_path: Path) -> None:
    told = loaded(tmp_path, a_tree(postgresql__use_unix_socket_repl=True, bootstrap__users={"bob": {}})).warnings
    assert [w.partition("node.yml: ")[2] for w in told] == [
        f"bootstrap.users: has no effect: {_moot('bootstrap.users')}",
        f"postgresql.use_unix_socket_repl: has no effect: {_moot('postgresql.use_unix_socket_repl')}",
    ]
    assert "bootstrap.post_bootstrap" in told[0]
    silent = a_tree(watchdog__mode=False, bootstrap__users={}, bootstrap__dcs={"synchronous_mode": False})
    assert loaded(tmp_path, silent).warnings == ()


def test_old_names_are_accepted(tmp_path: Path) -> None:
    assert loaded(tmp_path, a_tree(bootstrap__post_init="/x")).bootstrap.post_bootstrap == "/x"
    both = loaded(tmp_path, a_tree(bootstrap={"post_init": "/x", "post_bootstrap": "/y"}))
    assert both.bootstrap.post_bootstrap == "/y"
    assert "an old name of post_bootstrap" in both.warnings[0]


def test_null_counts_as_not_given(tmp_path: Path) -> None:
    nulls = a_tree(ctl=None, tags=None, restapi__certfile=None, log__level=None, etcd3__username=None)
    assert loaded(tmp_path, nulls).log.level == "INFO"


def test_booleans_and_numbers_may_be_text(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        a_tree(
            postgresql={**SMALLEST["postgresql"], "use_pg_rewind": "true", "use_unix_socket": "0"},
            tags={"nofailover": "yes", "nosync": 0, "failover_priority": "-1"},
            log={"file_num": "7", "mode": "0640"},
            haagent={"peer_timeout": "250ms"},
            bootstrap__dcs={"ttl": "20", "pause": "off"},
        ),
    )
    assert config.settings(None)[0].use_pg_rewind
    assert not config.postgresql.use_unix_socket
    assert (config.tags.nofailover, config.tags.nosync, config.tags.failover_priority) == (True, False, -1)
    assert (config.log.file_num, config.log.mode) == (7, 0o640)
    assert config.haagent.peer_timeout == 0.25
    assert config.settings(None)[0].ttl == 20


def test_names_that_yaml_takes_for_numbers_stay_names(tmp_path: Path) -> None:
    config = from_text(tmp_path, yaml.safe_dump(SMALLEST).replace("name: node1", "name: 17"))
    assert config.name == "17"
    with pytest.raises(ConfigError, match="put it in quotes"):
        from_text(tmp_path, yaml.safe_dump(SMALLEST).replace("name: node1", "name: on"))


def test_etcd_endpoints(tmp_path: Path) -> None:
    def endpoints(**etcd: Any) -> tuple[str, ...]:
        return loaded(tmp_path, a_tree(etcd3=etcd)).endpoints

    assert endpoints(host="a") == ("http://a:2379",)
    assert endpoints(hosts=["a:1", "a:1", "b:2"], protocol="https") == ("https://a:1", "https://b:2")
    assert endpoints(hosts="'a:1','[::1]:2'") == ("http://a:1", "http://[::1]:2")
    assert endpoints(hosts="https://a:1, b:2") == ("https://a:1", "http://b:2")
    assert endpoints(url="https://a:1/", host="b") == ("https://a:1",)
    assert endpoints(proxy="http://p", url="http://a:1") == ("http://p:2379",)


def test_credentials_are_taken_out_of_an_etcd_url(tmp_path: Path) -> None:
    etcd = loaded(tmp_path, a_tree(etcd3={"url": "https://me:p%40ss@e:1"})).etcd3
    assert (etcd.username, etcd.password, etcd.protocol) == ("me", Secret("p@ss"), "https")
    assert etcd.url == "https://e:1"


def test_listen_without_connect_address_must_be_reachable(tmp_path: Path) -> None:
    tree = a_tree(postgresql={"listen": "10.0.0.5,127.0.0.1:6000", "data_dir": "/d"})
    config = loaded(tmp_path, tree)
    assert config.postgresql.connect_address == Address("10.0.0.5", 6000)
    assert config.postgresql.listen.listen_addresses == "10.0.0.5,127.0.0.1"
    found = problems(tmp_path, a_tree(postgresql={"listen": "*:5432", "data_dir": "/d"}))
    assert found == [
        "/node.yml: postgresql.connect_address: must be given, as postgresql.listen is every address of this machine"
    ]


def test_the_urls_of_a_node_with_tls_and_ipv6(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        a_tree(
            restapi={"connect_address": "[fd00::1]:8008", "certfile": "/c"},
            postgresql__connect_address="[fd00::1]:5432",
        ),
    )
    assert config.me().conn_url == "postgres://[fd00::1]:5432/postgres"
    assert config.me().api_url == "https://[fd00::1]:8008/patroni"
    assert config.me().host == "fd00::1"


def test_relative_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = loaded(tmp_path, a_tree(postgresql__data_dir="data/pg0"))
    assert config.postgresql.data_dir == str(tmp_path / "data/pg0")
    assert config.haagent.state_dir == str(tmp_path / "data/pg0.haagent")


def test_command_line_options_in_all_their_forms(tmp_path: Path) -> None:
    given = ["data-checksums", {"encoding": "UTF8"}, "--locale=C", {"no-sync": True}, {"debug": False}]
    config = loaded(tmp_path, a_tree(bootstrap__initdb=given, postgresql__basebackup={"max-rate": "100M", "v": None}))
    assert config.bootstrap.initdb == (
        ("data-checksums", None),
        ("encoding", "UTF8"),
        ("locale", "C"),
        ("no-sync", None),
    )
    assert config.postgresql.basebackup == (("max-rate", "100M"), ("v", None))
    assert arguments(config.postgresql.basebackup) == ["--max-rate=100M", "-v"]


def test_libpq_options_of_a_role(tmp_path: Path) -> None:
    role = {"username": "r", "sslmode": "verify-full", "sslrootcert": "/ca", "sslpassword": "s", "sslcert": ""}
    config = loaded(tmp_path, a_tree(postgresql__authentication={"replication": role}))
    assert config.postgresql.authentication.replication.libpq() == {
        "sslmode": "verify-full",
        "sslrootcert": "/ca",
        "sslpassword": "s",
    }


def test_sections_of_custom_methods_may_stand_there(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        a_tree(
            bootstrap={"method": "restore", "restore": {"command": "/r"}},
            postgresql__create_replica_methods=["wal_e", "basebackup"],
            postgresql__wal_e={"command": "/w", "no_leader": 1},
        ),
    )
    assert config.warnings == ()
    settings, _ = config.settings(None)
    assert settings.replica_methods == (ReplicaMethod("wal_e", "/w", no_leader=True), ReplicaMethod())


def test_a_client_needs_only_scope_and_store(tmp_path: Path) -> None:
    config = loaded(tmp_path, {"scope": "demo", "etcd3": {"host": "a"}}, client=True)
    assert config.prefix == "/service/demo/"
    assert len(problems(tmp_path, {"etcd3": {"host": "a"}}, client=True)) == 1


def test_settings_as_they_stand_in_the_field(tmp_path: Path) -> None:
    """Words that YAML turns into booleans, old sections, numbers as text, switches with values, lists of hosts."""
    config = from_text(
        tmp_path,
        """
        scope: pg
        namespace: db
        name: "01"
        log: {dir: /var/log/agent, mode: 0640, loggers: {patroni.postmaster: WARNING}}
        etcd3: {protocol: https, cacert: /ca, username: u, password: 1234, hosts: [e1:2379, e2:2379]}
        restapi: {listen: '*:4443', connect_address: 10.0.0.1:4443, certfile: /c, cafile: /c, verify_client: required}
        bootstrap:
          method: initdb
          dcs:
            synchronous_mode: on
            master_start_timeout: "30"
            postgresql:
              parameters: {ssl: on, hot_standby: on, wal_keep_size: 64, max_worker_processes: 8, work_mem: 4MB}
              pg_hba:
              - hostssl all all 0.0.0.0/0 scram-sha-256
          initdb: [auth-host: scram-sha-256, {auth-local: peer}, data-checksums]
        postgresql:
          callbacks: {on_start: /vip.sh}
          listen: 10.0.0.1,127.0.0.1:5432
          connect_address: pg-1.example.org:5432
          data_dir: /data/pg/
          basebackup: [verbose, max-rate: 100M]
          authentication:
            replication: {username: repl, password: x, sslmode: verify-full, sslrootcert: /ca}
            rewind: {username: rewind_user, password: y}
        watchdog: {mode: off}
        tags: {failover_priority: 1, sync_priority: 1, nostream: false, datacenter: a}
        """,
    )
    assert (config.prefix, config.name) == ("/db/pg/", "01")
    assert config.etcd3.password == Secret("1234")
    found = config.settings(None)[0]
    assert (found.synchronous_mode, found.primary_start_timeout) == ("on", 30)
    assert (found.parameters["ssl"], found.parameters["wal_keep_size"]) == ("on", "64")
    assert config.bootstrap.initdb[0] == ("auth-host", "scram-sha-256")
    assert config.postgresql.authentication.rewind.username == "rewind_user"
    assert config.postgresql.listen.first == Address("10.0.0.1", 5432)
    assert config.postgresql.data_dir == "/data/pg"
    assert config.me().tags.published == {"failover_priority": 1, "sync_priority": 1, "datacenter": "a"}


def test_contradicting_tags_are_told(tmp_path: Path) -> None:
    config = loaded(tmp_path, a_tree(tags={"nofailover": True, "failover_priority": 5}))
    assert "never becomes primary" in config.warnings[0]
    assert not config.me().tags.may_lead


def test_tags_are_published_as_given_but_for_those_that_say_nothing(tmp_path: Path) -> None:
    def published(**tags: Any) -> Any:
        return loaded(tmp_path, a_tree(tags=tags)).me().tags.published

    assert published(nofailover=False, clonefrom="false", noloadbalance=0, nosync=False, nostream=False) == {}
    assert published(nofailover=False, failover_priority=3) == {"nofailover": False, "failover_priority": 3}
    assert published(nosync=False, sync_priority=1) == {"nosync": False, "sync_priority": 1}
    assert published(nofailover=True, rack="r1", weight="1.4", empty=None) == {
        "nofailover": True,
        "rack": "r1",
        "weight": "1.4",
    }


def test_every_setting_is_declared_with_a_sentence_and_under_one_name() -> None:
    keys = [field.key for field in LOCAL_FIELDS]
    assert len(keys) == len(set(keys))
    names = [field.env for field in LOCAL_FIELDS]
    assert len(names) == len(set(names))
    for field in FIELDS:
        assert field.doc.endswith("."), field.key
        assert "`" not in field.doc.replace("`", "", 2 * (field.doc.count("`") // 2)), field.key


# --- anything at all ---------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12),
    st.sampled_from(["on", "off", "10", "1h", "a:1", "0.0.0.0:5432", "-1", "http://x", "quorum", "%(x)s", ""]),
    st.dates(),
    st.binary(max_size=4),
)
KEYS = st.one_of(
    st.sampled_from(sorted({part for field in FIELDS for part in field.path})),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=5),
    st.integers(),
    st.booleans(),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=25,
)


@st.composite
def files(draw: st.DrawFn) -> Any:
    """The smallest tree with anything put at some places, mostly at places that mean something."""
    tree = a_tree()
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=6)):
        place = tree
        path = field.path if field in LOCAL_FIELDS else ("bootstrap", "dcs", *field.path)
        for part in path[:-1]:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        place[path[-1]] = draw(TREES)
    return tree


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.one_of(TREES, files()))
def test_any_tree_gives_settings_or_a_config_error(tmp_path: Path, tree: Any) -> None:
    file = tmp_path / "any.yml"
    file.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    with contextlib.suppress(ConfigError):
        assert load(str(file), {}).settings(None)[0].ttl >= 3


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60))
def test_any_text_gives_settings_or_a_config_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "any.yml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError):
        load(str(file), {})


@settings(max_examples=100, deadline=None)
@given(document=st.dictionaries(st.sampled_from([f.path[0] for f in FIELDS if f.where.value != "file"]), TREES))
def test_any_dynamic_configuration_gives_settings_or_a_config_error(document: dict[str, Any]) -> None:
    config = load(None, {"HAAGENT_CONFIGURATION": yaml.safe_dump(SMALLEST)})
    with contextlib.suppress(ConfigError):
        assert config.settings(document)[0].ttl >= 3


def test_a_custom_bootstrap(tmp_path: Path) -> None:
    section = {
        "command": "/usr/bin/restore --from 'the vault'",
        "no_params": "false",
        "keep_existing_recovery_conf": True,
        "recovery_conf": {"recovery_target_inclusive": False, "restore_command": "get %f %p"},
        "stanza": "main",
        "tries": 3,
        "quiet": True,
    }
    config = loaded(tmp_path, a_tree(bootstrap__method="vault", bootstrap__vault=section))
    assert config.warnings == ()
    assert config.bootstrap_method == BootstrapMethod(
        "vault",
        "/usr/bin/restore --from 'the vault'",
        arguments={"stanza": "main", "tries": "3", "quiet": "True"},
        keep_existing_recovery_conf=True,
        recovery_conf={"recovery_target_inclusive": "off", "restore_command": "get %f %p"},
    )
    assert loaded(tmp_path, SMALLEST).bootstrap_method is None


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (None, "/node.yml: bootstrap.vault: must be given: a section with the command of this method"),
        ({}, "/node.yml: bootstrap.vault.command: found ''; expected the command of this method"),
        ({"command": "'"}, "/node.yml: bootstrap.vault.command: "),
        ({"command": "x", "no_params": "maybe"}, "/node.yml: bootstrap.vault.no_params: found 'maybe'; expected true"),
        ({"command": "x", "recovery_conf": 1}, "/node.yml: bootstrap.vault.recovery_conf: found 1; expected a map"),
        ({"command": "x", "y": []}, "/node.yml: bootstrap.vault.y: found a list; expected text, a number"),
    ],
)
def test_a_custom_bootstrap_that_cannot_be_used(tmp_path: Path, section: object, expected: str) -> None:
    change = {"bootstrap__method": "vault"} | ({} if section is None else {"bootstrap__vault": section})
    (problem,) = problems(tmp_path, a_tree(**change))
    assert problem.startswith(expected)


def test_what_the_adapters_are_told_of_names_and_times(tmp_path: Path) -> None:
    tree = a_tree(
        postgresql__bin_name={"pg_rewind": "pg_rewind15", "initdb": "initdb"},
        postgresql__pg_ctl_timeout=90,
        postgresql__proxy_address="10.0.0.1:6432",
        postgresql__before_stop="/drain",
    )
    config = loaded(tmp_path, tree)
    assert config.warnings == ()
    found = postgres_settings(config)
    assert (found.program("pg_rewind"), found.program("initdb"), found.start_timeout) == ("pg_rewind15", "initdb", 90)
    assert config.me().proxy_url == "postgres://10.0.0.1:6432/postgres"
    assert loaded(tmp_path, SMALLEST).me().proxy_url == ""
    settings = config.settings(None)[0]
    assert (settings.before_stop, settings.pg_ctl_timeout) == ("/drain", 90)
