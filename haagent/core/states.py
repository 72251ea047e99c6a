"""The states of a node.

Only ``PROMOTING`` and ``PRIMARY`` may be writable. Pause is a setting, not a state.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What this node is doing; each change of it is a row of the table in ``core/transitions.py``."""

    VACANT = "vacant"
    """There is no data directory, or an empty one."""
    INITIALIZING = "initializing"
    """The first node of a new cluster runs initdb and creates the roles."""
    CLONING = "cloning"
    """A base backup of another node is being taken."""
    STARTING = "starting"
    """PostgreSQL is being started as a standby and does not answer yet."""
    STANDBY = "standby"
    """PostgreSQL runs in recovery."""
    CANDIDATE = "candidate"
    """The leader key is free and this node asks its peers and campaigns; or it found a running primary to adopt."""
    PROMOTING = "promoting"
    """The leader key is held; PostgreSQL is on its way to being writable."""
    PRIMARY = "primary"
    """The leader key is held and PostgreSQL accepts writes."""
    DEMOTING = "demoting"
    """PostgreSQL is being stopped in good order, faster and faster as the deadline nears."""
    FENCED = "fenced"
    """PostgreSQL is stopped; it is never writable again before this node has seen the cluster."""
    REWINDING = "rewinding"
    """The end of a diverged history is being undone with pg_rewind."""
    FAILED = "failed"
    """Nothing safe is left to do; an operator is needed."""
    STANDBY_LEADER = "standby leader"
    """The leader key of a standby cluster is held; PostgreSQL runs in recovery and follows a primary elsewhere."""


WRITABLE = frozenset({State.PROMOTING, State.PRIMARY})
