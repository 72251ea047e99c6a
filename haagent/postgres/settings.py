"""What the adapter needs to know of one PostgreSQL installation, as frozen values filled in by the composition root."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from haagent.core.methods import BootstrapMethod

Option = tuple[str, str | None]
"""A command line option as operators list them: a word, or a one-key map (name, value)."""


@dataclass(frozen=True, slots=True)
class Login:
    """A role: its name, its password, and libpq connection parameters such as ``sslmode`` and ``sslcert``."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def conninfo(self) -> dict[str, str]:
        """As libpq keywords, the password among them; empty values are left out."""
        words = {**self.options, "user": self.username, "password": self.password}
        return {name: value for name, value in words.items() if value}


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """Where PostgreSQL lives on this node and how the agent reaches it.

    ``state_dir`` must survive a reboot: the markers of unfinished work stand there.
    """

    data_dir: Path
    state_dir: Path
    config_dir: Path | None = None
    """None: the configuration files are in the data directory."""
    bin_dir: Path | None = None
    """None: the programs are looked for in PATH."""
    bin_names: Mapping[str, str] = field(default_factory=dict)
    """Programs that have another name here."""
    cluster_name: str = ""
    listen_addresses: str = "localhost"
    port: int = 5432
    unix_socket_directories: tuple[str, ...] = ()
    """Empty: PostgreSQL's own default."""
    use_unix_socket: bool = False
    pgpass: Path | None = None
    """The password file of the WAL receiver; None: one in ``state_dir``."""
    superuser: Login = Login()
    replication: Login = Login()
    rewind: Login = Login()
    """Without a user name the superuser is used."""
    initdb: tuple[Option, ...] = ()
    basebackup: tuple[Option, ...] = ()
    rewind_options: tuple[Option, ...] = ()
    post_bootstrap: str | None = None
    bootstrap: BootstrapMethod | None = None
    """How a new cluster is made; None: initdb."""
    bootstrap_hba: tuple[str, ...] = ()
    """The lines of a new cluster's pg_hba.conf when the configuration has none."""
    custom_conf: Path | None = None
    """Included instead of the saved base configuration."""
    server_log: Path | None = None
    """Where the postmaster's stdout and stderr go; None: where the agent's own go."""
    start_timeout: float = 60.0
    """Seconds granted to the short-lived server of a bootstrap, and to its stop."""
    lost_commits_timeout: float = 10.0
    """Seconds granted to the counting of commits past a fork."""

    @property
    def conf(self) -> Path:
        """The directory of postgresql.conf and its kin."""
        return self.config_dir or self.data_dir

    @property
    def passfile(self) -> Path:
        return self.pgpass or self.state_dir / "pgpass"

    @property
    def rewinder(self) -> Login:
        """Who reads the source of a rewind."""
        return self.rewind if self.rewind.username else self.superuser

    @property
    def by_socket(self) -> bool:
        """Whether the agent uses the unix socket: as asked, and whenever only peer authentication can let it in."""
        return self.use_unix_socket or not self.superuser.password

    def program(self, name: str) -> str:
        """The path of a PostgreSQL program."""
        name = self.bin_names.get(name, name)
        return str(self.bin_dir / name) if self.bin_dir else name


def names(text: str) -> frozenset[str]:
    """A set of names from a text with blanks between them."""
    return frozenset(text.split())


def option_words(options: Iterable[Option], reserved: frozenset[str]) -> tuple[list[str], list[str]]:
    """Options as command line words, and the names of those that the agent sets itself and therefore leaves out."""
    words: list[str] = []
    refused: list[str] = []
    for name, value in options:
        bare = name.lstrip("-").replace("_", "-")
        if bare in reserved:
            refused.append(bare)
        else:
            words.append(f"--{bare}" if value is None else f"--{bare}={value}")
    return words, refused
