"""Where the command line finds its configuration, and what it takes from it."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from haagent.ctl import target
from haagent.ctl.target import (
    Failed,
    Options,
    config_file,
    configuration,
    endpoints,
)
from haagent.outside import client_settings, etcd_settings

FILE = """
scope: demo
namespace: /db/
etcd3: {hosts: "10.0.0.1:2379,10.0.0.2:2379", username: root, password: etcd-secret}
restapi:
  authentication: {username: admin, password: rest-secret}
  cafile: /rest-ca
  certfile: /rest-cert
  keyfile: /rest-key
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "ctl.yml"
    path.write_text(FILE)
    return str(path)


def test_the_first_place_that_says_something_counts(tmp_path: Path, file: str) -> None:
    home = {"HOME": str(tmp_path)}
    usual = tmp_path / ".config" / "patroni" / "patronictl.yaml"
    usual.parent.mkdir(parents=True)
    usual.write_text(FILE)
    assert config_file(Options(), home) == str(usual)
    own = tmp_path / ".config" / "haagent" / "haagent-ctl.yml"
    own.parent.mkdir(parents=True)
    own.write_text(FILE)
    assert config_file(Options(), home) == str(own)
    assert config_file(Options(), home | {"PATRONICTL_CONFIG_FILE": "/p"}) == "/p"
    assert config_file(Options(), home | {"PATRONICTL_CONFIG_FILE": "/p", "HAAGENTCTL_CONFIG_FILE": "/h"}) == "/h"
    assert config_file(Options(file), home | {"HAAGENTCTL_CONFIG_FILE": "/h"}) == file


def test_a_client_needs_no_data_directory(file: str) -> None:
    config = configuration(Options(file), None, {})
    assert config.prefix == "/db/demo/"
    assert configuration(Options(file), "other", {}).prefix == "/db/other/"


def test_etcd_from_the_file_or_the_command_line(file: str) -> None:
    config = configuration(Options(file), None, {})
    settings = etcd_settings(config)
    assert settings.endpoints == ("http://10.0.0.1:2379", "http://10.0.0.2:2379")
    assert (settings.username, settings.password) == ("root", "etcd-secret")
    alone = configuration(Options(dcs_url="etcd3://10.1.1.1:2379,10.1.1.2:2379"), "x", {"HOME": "/nowhere"})
    assert alone.endpoints == ("http://10.1.1.1:2379", "http://10.1.1.2:2379")
    assert configuration(Options(file, "etcd3://10.1.1.1"), None, {}).endpoints == ("http://10.1.1.1:2379",)


@pytest.mark.parametrize("url", ["etcd://h:1", "consul://h:1", "etcd3://", "etcd3://user:secret@h:1"])
def test_urls_that_are_no_etcd(url: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        endpoints(url)
    assert "secret" not in caught.value.format_message()


def test_the_agents_are_reached_as_ctl_says_else_as_restapi_says(file: str, tmp_path: Path) -> None:
    settings = client_settings(configuration(Options(file), None, {}), False)
    assert (settings.username, settings.password) == ("admin", "rest-secret")
    assert (settings.cacert, settings.certfile, settings.keyfile) == ("/rest-ca", "/rest-cert", "/rest-key")
    assert not settings.insecure
    own = tmp_path / "own.yml"
    own.write_text(FILE + "ctl: {certfile: /ctl-cert, authentication: {username: me, password: mine}}\n")
    settings = client_settings(configuration(Options(str(own)), None, {}), True)
    assert (settings.username, settings.password, settings.certfile) == ("me", "mine", "/ctl-cert")
    assert settings.keyfile is None, "a key of one section does not fit a certificate of the other"
    assert settings.insecure


def test_no_configuration_at_all_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "PLACES", ("~/nothing.yml",))
    with pytest.raises(Failed) as caught:
        configuration(Options(), None, {"HOME": str(tmp_path)})
    message = caught.value.format_message()
    assert "scope: must be given" in message
    assert "-d etcd3://HOST:PORT" in message


def test_secrets_do_not_show(file: str) -> None:
    config = configuration(Options(file), None, {})
    for shown in (repr(config), repr(etcd_settings(config)), repr(client_settings(config, False))):
        assert "etcd-secret" not in shown
        assert "rest-secret" not in shown
