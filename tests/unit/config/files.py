"""Configuration trees for tests: a smallest one that loads, and how to load one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from haagent.config.load import Config, load
from haagent.config.problems import ConfigError

SMALLEST: dict[str, Any] = {
    "scope": "demo",
    "name": "node1",
    "etcd3": {"hosts": "10.0.0.1:2379"},
    "restapi": {"connect_address": "10.0.0.1:8008"},
    "postgresql": {"connect_address": "10.0.0.1:5432", "data_dir": "/srv/pg"},
}


def a_tree(**changes: Any) -> dict[str, Any]:
    """The smallest tree with values put at ``section__key`` paths; a value of ``...`` removes the key."""
    tree = copy.deepcopy(SMALLEST)
    for name, value in changes.items():
        *sections, key = name.split("__")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        if value is ...:
            place.pop(key, None)
        else:
            place[key] = value
    return tree


def from_text(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None, **how: bool) -> Config:
    """What a file with that text loads as."""
    file = tmp_path / "node.yml"
    file.write_text(text, encoding="utf-8")
    return load(str(file), environ or {}, **how)


def loaded(tmp_path: Path, tree: Any, environ: Mapping[str, str] | None = None, **how: bool) -> Config:
    """What a file with that tree loads as."""
    return from_text(tmp_path, yaml.safe_dump(tree), environ, **how)


def problems(tmp_path: Path, tree: Any, environ: Mapping[str, str] | None = None, **how: bool) -> list[str]:
    """What is wrong with a file with that tree."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, tree, environ, **how)
    return [str(problem).replace(str(tmp_path), "") for problem in caught.value.problems]
