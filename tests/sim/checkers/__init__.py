"""The invariants, one file each: a checker hears every event and says in words what must never happen."""
