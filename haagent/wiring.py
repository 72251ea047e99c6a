"""From the configuration to what each adapter wants to know."""

from __future__ import annotations

from pathlib import Path

from haagent.config.load import Config
from haagent.config.postgresql import Role
from haagent.dcs.client import EtcdClient
from haagent.host.certificates import Certificates
from haagent.outside import etcd_settings
from haagent.postgres.settings import Login, PostgresSettings
from haagent.rest.settings import RestSettings, SettingsError
from haagent.watchdog.device import WatchdogSettings


def state_dir(config: Config) -> Path:
    """Where the agent keeps its own small files: beside the data directory, if nothing else is said."""
    return Path(config.haagent.state_dir or f"{config.postgresql.data_dir.rstrip('/')}.haagent")


def _login(role: Role) -> Login:
    return Login(role.username or None, role.password.reveal() or None, role.libpq())


def etcd_kv(config: Config) -> EtcdClient:
    """The connection to etcd. SettingsError when the settings or the certificates can't be used."""
    try:
        return EtcdClient(etcd_settings(config))
    except ValueError as why:
        raise SettingsError(f"etcd3: {why}") from None


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def postgres_settings(config: Config) -> PostgresSettings:
    """For the PostgreSQL adapter."""
    given = config.postgresql
    return PostgresSettings(
        data_dir=Path(given.data_dir),
        state_dir=state_dir(config),
        config_dir=_path(given.config_dir),
        bin_dir=_path(given.bin_dir),
        bin_names=given.bin_name.others(),
        cluster_name=config.scope,
        listen_addresses=given.listen.listen_addresses,
        port=given.listen.port,
        unix_socket_directories=_socket_directories(config),
        use_unix_socket=given.use_unix_socket,
        pgpass=_path(given.pgpass),
        superuser=_login(given.authentication.superuser),
        replication=_login(given.authentication.replication),
        rewind=_login(given.authentication.rewind),
        initdb=given_options(config.bootstrap.initdb),
        basebackup=given_options(given.basebackup),
        rewind_options=given_options(given.rewind),
        post_bootstrap=config.bootstrap.post_bootstrap or None,
        bootstrap=config.bootstrap_method,
        bootstrap_hba=config.bootstrap.pg_hba,
        custom_conf=_path(given.custom_conf),
        start_timeout=given.pg_ctl_timeout,
    )


def given_options(options: object) -> tuple[tuple[str, str | None], ...]:
    """Command line options as the adapter takes them."""
    return tuple(options)  # type: ignore[arg-type]


def _socket_directories(config: Config) -> tuple[str, ...]:
    text = str(config.postgresql.parameters.get("unix_socket_directories", ""))
    return tuple(part.strip() for part in text.split(",") if part.strip())


def rest_settings(config: Config) -> RestSettings:
    """For the REST server."""
    given = config.restapi
    return RestSettings(
        listen=(str(given.listen),),
        username=given.authentication.username or None,
        password=given.authentication.password.reveal() or None,
        certfile=given.certfile or None,
        keyfile=given.keyfile or None,
        keyfile_password=given.keyfile_password.reveal() or None,
        cafile=given.cafile or None,
        ciphers=given.ciphers or None,
        verify_client=given.verify_client,  # type: ignore[arg-type]
        allowlist=given.allowlist,
        allowlist_include_members=given.allowlist_include_members,
        http_extra_headers={name: str(value) for name, value in given.http_extra_headers.items()},
        https_extra_headers={name: str(value) for name, value in given.https_extra_headers.items()},
        request_queue_size=max(given.request_queue_size, RestSettings().request_queue_size),
        server_tokens=given.server_tokens.lower(),
    )


def certificate_files(config: Config) -> dict[str, str]:
    """The certificates in use, by the names of their settings."""
    etcd, rest, ctl = config.etcd3, config.restapi, config.ctl
    known = {
        "etcd3.cert": etcd.cert,
        "etcd3.cacert": etcd.cacert,
        "restapi.certfile": rest.certfile,
        "restapi.cafile": rest.cafile,
        "ctl.certfile": ctl.certfile,
        "ctl.cacert": ctl.cacert,
    }
    return {name: path for name, path in known.items() if path}


def certificates(config: Config) -> Certificates:
    """Whose ends are looked for, and with them the files that belong to them."""
    etcd, rest, ctl = config.etcd3, config.restapi, config.ctl
    keys = {"etcd3.key": etcd.key, "restapi.keyfile": rest.keyfile, "ctl.keyfile": ctl.keyfile}
    return Certificates(certificate_files(config), {name: path for name, path in keys.items() if path})


def watchdog_settings(config: Config) -> WatchdogSettings:
    """For the watchdog device."""
    given = config.watchdog
    return WatchdogSettings(given.mode, given.device, given.driver, given.safety_margin)
