"""Settings from environment variables: names, forms, precedence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from haagent.config.fields import LOCAL_FIELDS
from haagent.config.load import load
from haagent.config.problems import ConfigError
from haagent.config.values import Address, Secret
from tests.unit.config.files import SMALLEST, a_tree, loaded, problems

DOCUMENTED = re.findall(
    r"[A-Z0-9_]+",
    """
    NAME NAMESPACE SCOPE LOG_TYPE LOG_LEVEL LOG_TRACEBACK_LEVEL LOG_FORMAT LOG_DATEFORMAT LOG_STATIC_FIELDS
    LOG_MAX_QUEUE_SIZE LOG_DIR LOG_MODE LOG_FILE_NUM LOG_FILE_SIZE LOG_LOGGERS LOG_DEDUPLICATE_HEARTBEAT_LOGS
    ETCD3_PROXY ETCD3_URL ETCD3_HOSTS ETCD3_USE_PROXIES ETCD3_PROTOCOL ETCD3_HOST ETCD3_SRV ETCD3_SRV_SUFFIX
    ETCD3_USERNAME ETCD3_PASSWORD ETCD3_CACERT ETCD3_CERT ETCD3_KEY POSTGRESQL_LISTEN POSTGRESQL_CONNECT_ADDRESS
    POSTGRESQL_PROXY_ADDRESS POSTGRESQL_DATA_DIR POSTGRESQL_CONFIG_DIR POSTGRESQL_BIN_DIR POSTGRESQL_BIN_PG_CTL
    POSTGRESQL_BIN_INITDB POSTGRESQL_BIN_PG_CONTROLDATA POSTGRESQL_BIN_PG_BASEBACKUP POSTGRESQL_BIN_POSTGRES
    POSTGRESQL_BIN_PG_REWIND POSTGRESQL_PGPASS REPLICATION_USERNAME REPLICATION_PASSWORD REPLICATION_SSLMODE
    REPLICATION_SSLKEY REPLICATION_SSLPASSWORD REPLICATION_SSLCERT REPLICATION_SSLROOTCERT REPLICATION_SSLCRL
    REPLICATION_SSLCRLDIR REPLICATION_SSLNEGOTIATION REPLICATION_GSSENCMODE REPLICATION_CHANNEL_BINDING
    SUPERUSER_USERNAME SUPERUSER_PASSWORD SUPERUSER_SSLMODE SUPERUSER_SSLKEY SUPERUSER_CHANNEL_BINDING
    REWIND_USERNAME REWIND_PASSWORD REWIND_SSLMODE REWIND_GSSENCMODE RESTAPI_CONNECT_ADDRESS RESTAPI_LISTEN
    RESTAPI_USERNAME RESTAPI_PASSWORD RESTAPI_CERTFILE RESTAPI_KEYFILE RESTAPI_KEYFILE_PASSWORD RESTAPI_CAFILE
    RESTAPI_CIPHERS RESTAPI_VERIFY_CLIENT RESTAPI_ALLOWLIST RESTAPI_ALLOWLIST_INCLUDE_MEMBERS
    RESTAPI_HTTP_EXTRA_HEADERS RESTAPI_HTTPS_EXTRA_HEADERS RESTAPI_REQUEST_QUEUE_SIZE RESTAPI_SERVER_TOKENS
    RESTAPI_THREAD_POOL_SIZE CTL_USERNAME CTL_PASSWORD CTL_INSECURE CTL_CACERT CTL_CERTFILE CTL_KEYFILE
    CTL_KEYFILE_PASSWORD
    """,
)
"""Names behind PATRONI_ in Patroni's documentation of its environment."""


@pytest.mark.parametrize("name", DOCUMENTED)
def test_each_documented_name_is_known(name: str) -> None:
    assert any(f"PATRONI_{name}" in field.variables for field in LOCAL_FIELDS)


def test_a_node_may_be_configured_by_the_environment_alone() -> None:
    config = load(
        None,
        {
            "PATRONI_SCOPE": "demo",
            "PATRONI_NAME": "node1",
            "PATRONI_ETCD3_HOSTS": "'a:2379','b:2379'",
            "PATRONI_RESTAPI_LISTEN": "0.0.0.0:8008",
            "PATRONI_RESTAPI_CONNECT_ADDRESS": "10.0.0.1:8008",
            "PATRONI_RESTAPI_USERNAME": "admin",
            "PATRONI_RESTAPI_PASSWORD": "12345",
            "PATRONI_POSTGRESQL_CONNECT_ADDRESS": "10.0.0.1:5432",
            "PATRONI_POSTGRESQL_DATA_DIR": "/d",
            "PATRONI_POSTGRESQL_BIN_PG_CTL": "pg_ctl",
            "PATRONI_SUPERUSER_USERNAME": "boss",
            "PATRONI_SUPERUSER_PASSWORD": "{a: b",
            "PATRONI_REPLICATION_SSLMODE": "require",
            "PATRONI_LOG_LOGGERS": "{asyncio: debug}",
            "PATRONI_LOG_LEVEL": "",
            "HAAGENT_PEER_TIMEOUT": "0.3",
            "HAAGENT_POSTGRESQL_PG_HBA": "[local all all peer]",
            "HAAGENT_TAGS_NOFAILOVER": "true",
            "PATH": "/bin",
        },
    )
    assert config.endpoints == ("http://a:2379", "http://b:2379")
    assert config.restapi.authentication.password == Secret("12345")
    assert config.restapi.connect_address == Address("10.0.0.1", 8008)
    assert config.postgresql.authentication.superuser.password == Secret("{a: b")
    assert config.log.loggers == {"asyncio": "DEBUG"}
    assert config.log.level == "INFO"
    assert config.haagent.peer_timeout == 0.3
    assert config.settings(None)[0].pg_hba == ("local all all peer",)
    assert config.me().tags.published == {"nofailover": "true"}
    assert config.warnings == ()


def test_haagents_names_win_over_patronis_and_those_over_the_file(tmp_path: Path) -> None:
    tree = a_tree(scope="file", namespace="/file/", name="file")
    environ = {"PATRONI_SCOPE": "p", "PATRONI_NAMESPACE": "/p/", "HAAGENT_SCOPE": "h"}
    config = loaded(tmp_path, tree, environ)
    assert (config.scope, config.namespace, config.name) == ("h", "/p/", "file")


def test_an_error_names_the_variable(tmp_path: Path) -> None:
    found = problems(tmp_path, SMALLEST, {"PATRONI_LOG_LEVEL": "LOUD", "HAAGENT_LOG_LOGGERS": "{a"})
    assert found[0].startswith("environment variable HAAGENT_LOG_LOGGERS, line 1, column 3: not valid YAML")
    assert found[1] == (
        "environment variable PATRONI_LOG_LEVEL: log.level: found 'LOUD'; "
        "expected a logging level: DEBUG, INFO, WARNING, ERROR or CRITICAL"
    )


def test_a_wrong_name_is_told_with_the_nearest_known_one(tmp_path: Path) -> None:
    config = loaded(tmp_path, SMALLEST, {"HAAGENT_LOG_LEVLE": "x", "PATRONI_VERSION": "4.1.0"})
    assert config.warnings == (
        "environment variable HAAGENT_LOG_LEVLE: no such setting; did you mean HAAGENT_LOG_LEVEL?",
    )


def test_names_of_foreign_stores_are_refused(tmp_path: Path) -> None:
    assert "PATRONI_ETCD3_" in problems(tmp_path, SMALLEST, {"PATRONI_CONSUL_HOST": "x"})[0]


def test_one_variable_may_hold_the_whole_file() -> None:
    environ = {"PATRONI_CONFIGURATION": yaml.safe_dump(SMALLEST), "PATRONI_NAME": "other"}
    assert load(None, environ).name == "node1"
    with pytest.raises(ConfigError, match="PATRONI_CONFIGURATION, line 1"):
        load(None, {"PATRONI_CONFIGURATION": "{"})
