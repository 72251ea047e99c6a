"""From the configuration to whom agent and command line alike speak: etcd, and the agents' REST APIs."""

from __future__ import annotations

from haagent.config.load import Config
from haagent.dcs.settings import EtcdSettings
from haagent.rest.settings import ClientSettings


def etcd_settings(config: Config) -> EtcdSettings:
    """How to reach etcd."""
    given = config.etcd3
    return EtcdSettings(
        endpoints=config.endpoints,
        username=given.username or None,
        password=given.password.reveal() or None,
        cacert=given.cacert or None,
        cert=given.cert or None,
        key=given.key or None,
        transport=given.transport,  # type: ignore[arg-type]
        protocol=given.protocol,  # type: ignore[arg-type]
        discover=not (given.use_proxies or given.proxy),
        srv=None if config.endpoints else given.srv,
        srv_suffix=given.srv_suffix or None,
    )


def client_settings(config: Config, insecure: bool = False) -> ClientSettings:
    """How to reach the agents: what ``ctl`` says, else what ``restapi`` says; ``insecure``: without verifying them."""
    ctl, rest = config.ctl, config.restapi
    login = ctl.authentication if ctl.authentication.username else rest.authentication
    # A certificate and its key belong together: never one from each section.
    pair = ctl if ctl.certfile else rest
    return ClientSettings(
        username=login.username or None,
        password=login.password.reveal() or None,
        cacert=ctl.cacert or rest.cafile or None,
        certfile=pair.certfile or None,
        keyfile=pair.keyfile or None,
        keyfile_password=pair.keyfile_password.reveal() or None,
        insecure=insecure or ctl.insecure,
    )
