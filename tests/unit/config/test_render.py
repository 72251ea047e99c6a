"""The rendered files are up to date, complete and true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from haagent.config.fields import FIELDS
from haagent.config.load import load
from haagent.config.render import RENDERED, ROOT, json_schema, manual, sample
from tests.unit.config.files import from_text


@pytest.mark.parametrize("name", sorted(RENDERED))
def test_what_is_checked_in_is_what_is_rendered(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == RENDERED[name](), "run `make generate`"


def test_the_sample_file_loads_without_a_warning() -> None:
    config = load(str(ROOT / "config/haagent.sample.yml"), {}, strict=True)
    assert config.warnings == ()
    assert config.settings(None)[0].use_pg_rewind


def test_the_sample_file_with_every_comment_taken_off_names_only_known_settings(tmp_path: Path) -> None:
    everything = re.sub(r"(?m)^( *)#(?=\w)", r"\1", sample())
    config = from_text(tmp_path, everything, strict=True)
    assert {w.rpartition(": ")[2] for w in config.warnings} <= {"accepted, has no effect yet"}
    assert config.warnings == ()


def test_the_manual_names_every_setting() -> None:
    text = manual()
    for field in FIELDS:
        assert f"| `{field.key}` |" in text


def test_the_schema_describes_the_same_settings() -> None:
    schema = json.loads(json_schema())
    for field in FIELDS:
        place = schema if field.where.value != "dynamic" else schema["$defs"]["dynamic"]
        for part in field.path:
            place = place["properties"][part]
        assert place["description"].startswith(field.doc)
    assert "change-me" not in json_schema()
