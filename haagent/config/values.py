"""The kinds of value a setting can have: how each is read from YAML or text, and how it is described.

A reader takes what YAML or an environment variable gave and returns the value in use; ``ExpectedError`` says what
should have stood there, and never repeats the value, which may be a secret.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class ExpectedError(ValueError):
    """The value is not of its kind; the text says what was expected."""


class Secret:
    """A text that shows itself only when asked to; repr, str and format hide it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("secret", self._text))


WILDCARDS = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
"""Addresses that mean "all of this machine's", and how this machine reaches itself."""


@dataclass(frozen=True, slots=True)
class Address:
    """One host and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def wildcard(self) -> bool:
        return self.host in WILDCARDS

    @property
    def local(self) -> str:
        """The host by which this machine reaches it."""
        return WILDCARDS.get(self.host, self.host)


@dataclass(frozen=True, slots=True)
class Listen:
    """Several addresses of this machine with one port."""

    hosts: tuple[str, ...]
    port: int

    def __str__(self) -> str:
        *others, last = self.hosts
        return ",".join([*others, str(Address(last, self.port))])

    @property
    def first(self) -> Address:
        return Address(self.hosts[0], self.port)

    @property
    def listen_addresses(self) -> str:
        """As PostgreSQL's parameter of that name wants it."""
        return ",".join(self.hosts)


Options = tuple[tuple[str, str | None], ...]
"""Command-line options in order: a name, and a value or None for a bare switch."""

FormatFields = tuple[tuple[str, str], ...]
"""Fields of a JSON log line in order: a LogRecord attribute and the name it gets."""


def arguments(options: Options) -> list[str]:
    """The options as command-line words."""
    words = []
    for name, value in options:
        dash = "-" if len(name) == 1 else "--"
        if value is None:
            words.append(dash + name)
        else:
            words += [dash + name, value] if dash == "-" else [f"{dash}{name}={value}"]
    return words


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of value is read and described."""

    name: str
    expected: str
    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    structured: bool = False
    """In an environment variable it is written as YAML."""


# --- readers ------------------------------------------------------------------------------------------------------


def read_text(value: Any) -> str:
    """Text; numbers become their text, but a bare YAML yes or on, whose text is lost, does not."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        raise ExpectedError("text (YAML reads this word as a boolean: put it in quotes)")
    if isinstance(value, int | float):
        return str(value)
    raise ExpectedError("text")


def read_word(value: Any) -> str:
    """A value of a list of choices, where YAML 1.1 turns ``on`` and ``off`` into booleans."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else read_text(value).strip()


def read_secret(value: Any) -> Secret:
    return Secret(read_text(value))


TRUE = frozenset({"true", "on", "yes", "1"})
FALSE = frozenset({"false", "off", "no", "0"})


def read_bool(value: Any) -> bool:
    """A boolean, or a word or number that means one."""
    word = str(value).strip().lower() if isinstance(value, bool | int | str) else ""
    if word not in TRUE | FALSE:
        raise ExpectedError("true or false")
    return word in TRUE


def read_int(value: Any) -> int:
    """A whole number, also as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ExpectedError("a whole number")
    if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value):
        raise ExpectedError("a whole number")
    if isinstance(value, float) and not value.is_integer():
        raise ExpectedError("a whole number")
    return int(value)


UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def read_seconds(value: Any) -> float:
    """Seconds as a number, or a number with one of PostgreSQL's units of time, such as ``30min``."""
    expected = "seconds, or a number with unit us, ms, s, min, h or d"
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([+-]?[0-9]{1,18}(?:\.[0-9]{0,18})?)\s*([a-z]*)\s*", value)
        if not match or match[2] not in {"", *UNITS_S}:
            raise ExpectedError(expected)
        return float(match[1]) * UNITS_S[match[2] or "s"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ExpectedError(expected)
    return value


def read_mode(value: Any) -> int:
    """Permissions of a file: YAML's octal number, or octal digits as text."""
    if isinstance(value, str) and re.fullmatch(r"(0o?)?[0-7]{3}", value.strip()):
        return int(value.strip().replace("o", ""), 8)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return value
    raise ExpectedError("octal permissions such as 0640")


def read_level(value: Any) -> str:
    """The name of a logging level."""
    level = read_text(value).strip().upper()
    if level not in logging.getLevelNamesMapping():
        raise ExpectedError("a logging level: DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return level


def read_levels(value: Any) -> dict[str, str]:
    """Logging levels by the names of their loggers."""
    return {name: read_level(level) for name, level in read_map(value).items()}


def read_port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise ExpectedError("a port from 1 to 65535 after the last colon")
    return int(text)


def split_port(text: str, port: int) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[IPv6]:port``; the given port where the text has none."""
    text = text.strip()
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", text)
    if bracketed:
        host, rest = bracketed[1], bracketed[2]
        ipaddress.IPv6Address(host)
        return host, port if rest is None else read_port(rest)
    host, colon, rest = text.rpartition(":")
    if not colon:
        return text, port
    if ":" in host:
        raise ExpectedError("an IPv6 address in brackets, such as [::1]:5432")
    return host, read_port(rest)


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:%*-]+", text) or text.isdigit():
        raise ExpectedError("a host name or IP address, a colon and a port")
    return text


def read_address(port: int) -> Callable[[Any], Address]:
    """A reader of one ``host:port``, with that port where none is given."""

    def read(value: Any) -> Address:
        host, given = split_port(read_text(value), port)
        return Address(_host(host), given)

    return read


def read_listen(value: Any) -> Listen:
    """``address,address:port``; the port stands after the last address."""
    *others, last = [part.strip() for part in read_text(value).split(",")]
    host, port = split_port(last, 5432)
    return Listen(tuple(_host(h.strip("[]")) for h in [*others, host]), port)


def read_words(value: Any) -> tuple[str, ...]:
    """A list of texts, or one text with commas; quotes around its parts are taken off."""
    if isinstance(value, list):
        return tuple(read_text(item).strip() for item in value)
    parts = [part.strip().strip("'\"") for part in read_text(value).split(",")]
    return tuple(part for part in parts if part)


def read_lines(value: Any) -> tuple[str, ...]:
    """A list of lines, or one text with several."""
    lines = [read_text(item) for item in value] if isinstance(value, list) else read_text(value).splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def read_map(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ExpectedError("a map")
    return value


def _option(name: str, value: Any) -> tuple[str, str | None] | None:
    """One option; a switch that is false is none."""
    name = name.strip().lstrip("-")
    if not name:
        raise ExpectedError("option names that are not empty")
    if value is None or value is True:
        return name, None
    return None if value is False else (name, read_text(value))


def read_options(value: Any) -> Options:
    """Command-line options: a list of words and one-key maps, or a map."""
    expected = "a list of words and one-key maps, such as [data-checksums, {encoding: UTF8}]"
    items: list[tuple[str, Any]] = []
    if isinstance(value, str):
        value = [value] if value.strip() else []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and len(item) == 1:
                items += item.items()
            elif isinstance(item, str):
                name, equals, rest = item.partition("=")
                items.append((name, rest if equals else None))
            else:
                raise ExpectedError(expected)
    else:
        raise ExpectedError(expected)
    return tuple(option for name, given in items if (option := _option(name, given)))


def read_format(value: Any) -> str | FormatFields:
    """A logging format, or for JSON a list of LogRecord attributes and of maps attribute → name."""
    if not isinstance(value, list):
        return read_text(value)
    fields: list[tuple[str, str]] = []
    for item in value:
        if isinstance(item, dict):
            fields += [(name, read_text(shown)) for name, shown in item.items()]
        else:
            fields.append((read_text(item), read_text(item)))
    return tuple(fields)


def read_anything(value: Any) -> Any:
    return value


def read_list(value: Any) -> tuple[dict[str, Any], ...]:
    """A list of maps."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ExpectedError("a list of maps")
    return tuple(value)


# --- kinds --------------------------------------------------------------------------------------------------------

_TEXT: dict[str, Any] = {"type": ["string", "number"]}
_NUMBER: dict[str, Any] = {"type": ["number", "string"]}
_LIST: dict[str, Any] = {"type": ["array", "string"]}

TEXT = Kind("text", "text", read_text, _TEXT)
WORD = Kind("word", "a word", read_word, {"type": ["string", "boolean", "number"]})
SECRET = Kind("secret text", "text", read_secret, _TEXT)
BOOL = Kind("boolean", "true or false", read_bool, {"type": ["boolean", "string", "integer"]})
INT = Kind("whole number", "a whole number", read_int, {"type": ["integer", "string"]})
SECONDS = Kind("duration", "seconds, or a number with a unit", read_seconds, _NUMBER)
MODE = Kind("permissions", "octal permissions", read_mode, {"type": ["integer", "string"]})
LEVEL = Kind("logging level", "a logging level", read_level, {"type": "string"})
LISTEN = Kind("addresses and port", "ADDRESS[,ADDRESS]:PORT", read_listen, {"type": "string"})
PG_ADDRESS = Kind("host and port", "HOST:PORT", read_address(5432), {"type": "string"})
API_ADDRESS = Kind("host and port", "HOST:PORT", read_address(8008), {"type": "string"})
WORDS = Kind("list of words", "a list, or words with commas", read_words, _LIST)
LINES = Kind("list of lines", "a list of lines", read_lines, _LIST, structured=True)
MAP = Kind("map", "a map", read_map, {"type": "object"}, structured=True)
LEVELS = Kind("map of levels", "a map of logging levels", read_levels, {"type": "object"}, structured=True)
MAPS = Kind("list of maps", "a list of maps", read_list, {"type": "array"}, structured=True)
OPTIONS = Kind(
    "list of options",
    "a list of words and one-key maps",
    read_options,
    {"type": ["array", "object", "string"]},
    structured=True,
)
FORMAT = Kind(
    "logging format",
    "a format, or a list of fields",
    read_format,
    {"type": ["string", "array"]},
    structured=True,
)
ANYTHING = Kind("anything", "anything", read_anything, {}, structured=True)
