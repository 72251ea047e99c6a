"""From a YAML file and environment variables to one tree of plain values, each of which knows where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import yaml

from haagent.config.field import Field, Path
from haagent.config.fields import FOREIGN, LOCAL_FIELDS
from haagent.config.problems import ConfigError, Problem, nearest

Tree = dict[str, Any]
Origins = dict[Path, str]
"""Where the values that the file does not give came from."""

PREFIXES = ("PATRONI_", "HAAGENT_")
"""Of environment names; the later one wins."""

WHOLE = "CONFIGURATION"
"""The environment name that holds a whole file."""

NOT_SETTINGS = frozenset({"CONFIG_FILE", "VERSION", "CTL_CONFIG_FILE"})
"""Names behind the prefixes that container images use and that are no settings."""

_FOREIGN_NAMES = tuple(f"{prefix}{store.upper()}_" for prefix in PREFIXES for store in FOREIGN)

MAX_NODES = 100_000
MAX_DEPTH = 40


class _Loader(yaml.SafeLoader):
    """YAML in which no key of a map may stand twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(problem="a key stands twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def parse(text: str, source: str) -> Any:
    """The plain value of a YAML text; ConfigError with line and column when it is none."""
    try:
        return plain(yaml.load(text, Loader=_Loader), source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{source}, line {mark.line + 1}, column {mark.column + 1}" if mark else source
        raise ConfigError([Problem(at, (), f"not valid YAML: {error.problem or error.context}")]) from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(
            [Problem(source, (), f"not valid YAML: {error.reason} at character {error.position}")]
        ) from None
    except RecursionError:
        raise ConfigError([Problem(source, (), "not valid YAML: nested too deeply")]) from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError):
        raise ConfigError([Problem(source, (), "not valid YAML: it holds a value that cannot be read")]) from None


def plain(value: Any, source: str) -> Any:
    """The same as maps with text keys, lists and scalars only; ConfigError when it is too large, deep or round."""
    nodes = 0

    def walk(node: Any, depth: int) -> Any:
        nonlocal nodes
        nodes += 1
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise ConfigError([Problem(source, (), f"more than {MAX_NODES} values, or more than {MAX_DEPTH} levels")])
        if isinstance(node, dict):
            return {_key(k): walk(item, depth + 1) for k, item in node.items()}
        if isinstance(node, list | tuple):
            return [walk(item, depth + 1) for item in node]
        if isinstance(node, set):
            return [walk(item, depth + 1) for item in sorted(node, key=str)]
        if isinstance(node, date):
            return node.isoformat()
        return node.decode("utf-8", "replace") if isinstance(node, bytes) else node

    return walk(value, 0)


def _key(key: Any) -> str:
    """A map's key as text, where YAML made a boolean of ``on`` or a number of ``1``."""
    if isinstance(key, bool):
        return "on" if key else "off"
    return key if isinstance(key, str) else str(key)


def without_nulls(tree: Tree) -> Tree:
    """A section without its keys whose value is null, which count as absent; free maps keep theirs."""
    return {key: value for key, value in tree.items() if value is not None}


def environment(environ: Mapping[str, str], tree: Tree) -> tuple[Origins, list[Problem], list[Problem]]:
    """Lay the settings of the environment over the tree; their origins, the errors, the unknown names."""
    origins: Origins = {}
    errors: list[Problem] = []
    for field in LOCAL_FIELDS:
        for name in field.variables:
            if not environ.get(name):
                continue
            try:
                value = _from_text(field, environ[name], f"environment variable {name}")
            except ConfigError as error:
                errors += error.problems
                continue
            if _place(tree, field.path, value):
                origins[field.path] = f"environment variable {name}"
    errors += [_foreign(name) for name in sorted(environ) if name.startswith(_FOREIGN_NAMES)]
    return origins, errors, list(_unknown(environ))


def _from_text(field: Field, text: str, source: str) -> Any:
    return parse(text, source) if field.kind.structured else text


def _place(tree: Tree, path: Path, value: Any) -> bool:
    """Put a value into a tree; False when something that is no section stands in its way (an error told elsewhere)."""
    for part in path[:-1]:
        if tree.get(part) is None:
            tree[part] = {}
        inner = tree[part]
        if not isinstance(inner, dict):
            return False
        tree = inner
    tree[path[-1]] = value
    return True


def _foreign(name: str) -> Problem:
    text = "haagent keeps its cluster in etcd only, by its v3 API; set the names that begin with PATRONI_ETCD3_"
    return Problem(f"environment variable {name}", (), text)


def _unknown(environ: Mapping[str, str]) -> Iterator[Problem]:
    known = {name for field in LOCAL_FIELDS for name in field.variables}
    known |= {prefix + name for prefix in PREFIXES for name in (*NOT_SETTINGS, WHOLE)}
    for name in sorted(environ.keys() - known):
        if name.startswith(PREFIXES) and not name.startswith(_FOREIGN_NAMES):
            yield Problem(f"environment variable {name}", (), f"no such setting{nearest(name, known)}")
