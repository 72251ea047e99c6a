"""The node's files: data directory, password files, hooks, programs, and who else would start PostgreSQL on them."""

from __future__ import annotations

from haagent.core.health.facts import NodeFacts, PathFacts
from haagent.core.health.finding import Finding, ok, problem, unknown, warning

LOW_PERCENT, VERY_LOW_PERCENT = 10, 2
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs"})
PRIVATE = 0o077
"""What group and others may do."""


def data_directory(f: NodeFacts) -> Finding:
    data = f.host.data
    if data.there and data.directory:
        version = f"PostgreSQL {f.host.data_version}" if f.host.data_version else "no cluster yet"
        return ok("data-directory", f"{data.path} is there and holds {version}")
    if data.there:
        return problem("data-directory", f"{data.path} is no directory", f"mv {data.path} {data.path}.old")
    if data.why:
        return unknown("data-directory", f"{data.path} can't be looked at: {data.why}")
    return ok("data-directory", f"{data.path} is not there: it is made by the first bootstrap or clone")


def data_owner(f: NodeFacts) -> Finding:
    data, name = f.host.data, "data-directory-owner"
    if not data.there:
        return _absent(name, data)
    if f.host.uid == 0:
        if data.uid == 0:
            return problem(name, f"{data.path} belongs to root", f"chown -R postgres {data.path}")
        return ok(name, f"{data.path} belongs to uid {data.uid}; run this as that user to know more")
    if data.uid != f.host.uid:
        text = f"{data.path} belongs to uid {data.uid}, but the agent runs as {f.host.user} (uid {f.host.uid})"
        return problem(name, f"{text}: PostgreSQL refuses to start", f"chown -R {f.host.user} {data.path}")
    return ok(name, f"{data.path} belongs to {f.host.user}")


def data_mode(f: NodeFacts) -> Finding:
    data, name = f.host.data, "data-directory-mode"
    if not data.there:
        return _absent(name, data)
    if data.mode in (0o700, 0o750):
        return ok(name, f"{data.path} has mode {data.bits}")
    text = f"{data.path} has mode {data.bits}: PostgreSQL starts on 0700 or 0750 only"
    return problem(name, text, f"chmod 0700 {data.path}")


def _absent(name: str, data: PathFacts) -> Finding:
    if data.why:
        return unknown(name, f"{data.path} can't be looked at: {data.why}")
    return ok(name, "there is no data directory yet")


def data_mount(f: NodeFacts) -> Finding:
    volume = next((v for v in f.host.volumes if v.path == f.host.data.path), None)
    name = "data-directory-mount"
    if volume is None:
        return unknown(name, f"the file system of {f.host.data.path} is not known")
    where = f"{volume.point} ({volume.kind})"
    below = "give it a subdirectory of the mount point and move the data there"
    if volume.point == volume.path:
        text = f"{volume.path} is a mount point itself: it can't be moved aside for a new copy"
        return warning(name, text, below)
    if volume.kind in REMOTE:
        text = f"it lies on {where}: a file system that hangs with its server takes the primary along"
        return warning(name, text, "use a local disk, or see `docs/operations.md` on disks that hang")
    if volume.kind == "tmpfs":
        return warning(name, f"it lies on {where}: the data is gone with the machine", "use a disk")
    return ok(name, f"it lies on {where}")


def free_space(f: NodeFacts) -> Finding:
    name = "free-space"
    if not f.host.volumes:
        return unknown(name, "the file systems of data and WAL are not known")
    fullest = min(f.host.volumes, key=lambda v: v.free / max(1, v.total))
    percent = 100 * fullest.free / max(1, fullest.total)
    text = f"{fullest.point} has {fullest.free >> 20} MiB free of {fullest.total >> 20} ({percent:.1f} %)"
    mend = (
        f"enlarge {fullest.point}, or free some: df -h {fullest.path}; see `slots-retained` for WAL that is held back"
    )
    if percent < VERY_LOW_PERCENT:
        return problem(name, f"{text}: a full disk stops PostgreSQL", mend)
    return warning(name, text, mend) if percent < LOW_PERCENT else ok(name, text)


def state_directory(f: NodeFacts) -> Finding:
    found, name = f.host.state_dir, "state-directory"
    if not found.there:
        return ok(name, f"{found.path} is not there yet: the agent makes it when it starts")
    if not found.writable:
        text = f"{found.path} can't be written by {f.host.user}: neither markers nor promises survive a restart"
        return problem(name, text, f"chown -R {f.host.user} {found.path}")
    if found.mode & PRIVATE:
        return warning(name, f"{found.path} has mode {found.bits}", f"chmod 0700 {found.path}")
    return ok(name, f"{found.path} has mode {found.bits} and can be written")


def password_file(f: NodeFacts) -> Finding:
    found, name = f.host.password_file, "password-file"
    if not found.there:
        return ok(name, f"{found.path} is not there: the agent writes it when it follows a leader")
    if found.mode & PRIVATE:
        text = f"{found.path} has mode {found.bits}: libpq ignores a password file that others may read"
        return problem(name, f"{text}, so that this node can't follow a leader", f"chmod 0600 {found.path}")
    return ok(name, f"{found.path} has mode {found.bits}")


def secret_files(f: NodeFacts) -> Finding:
    name, there = "secret-files", [one for one in f.host.secrets if one.there]
    missing = [one for one in f.host.secrets if not one.there]
    loose = [one for one in there if one.mode & 0o007]
    if missing:
        text = ", ".join(f"{one.path} ({one.why or 'not there'})" for one in missing)
        return problem(name, f"can't be read: {text}", "put them there, readable by the agent's user")
    if loose:
        text = ", ".join(f"{one.path} has mode {one.bits}" for one in loose)
        paths = " ".join(one.path for one in loose)
        return warning(name, f"{text}: every user of this machine reads the secrets in it", f"chmod o-rwx {paths}")
    return ok(name, f"{len(there)} files with secrets are closed to other users")


def competing_units(f: NodeFacts) -> Finding:
    name = "competing-units"
    if f.host.units is None:
        return unknown(name, "there is no /etc/systemd/system to look into")
    ours = [one.name for one in f.host.units if one.ours]
    others = [one.name for one in f.host.units if not one.ours]
    if ours:
        text = f"{', '.join(ours)} would start PostgreSQL on this data directory behind the agent's back"
        return problem(name, text, f"systemctl disable --now {' '.join(ours)}")
    agents = [one for one in others if one.startswith(("patroni", "repmgr", "stolon", "pg_auto"))]
    if agents:
        text = f"{', '.join(agents)} is enabled beside this agent"
        return warning(name, f"{text}; whether for this data is not known", f"systemctl disable {' '.join(agents)}")
    return ok(name, f"no enabled unit starts PostgreSQL on this data ({len(others)} others seen)")


def hooks(f: NodeFacts) -> Finding:
    bad = [one for one in f.host.hooks if one.why]
    if bad:
        text = "; ".join(f"{one.setting}: {one.why}" for one in bad)
        if any(one.setting == "postgresql.pre_promote" for one in bad):
            text += "; without it this node is never promoted"
        return problem("hooks", text, "put the program there and chmod +x it, or take the setting out")
    return ok("hooks", f"{len(f.host.hooks)} programs are set, all can be run")


def programs(f: NodeFacts) -> Finding:
    name, where = "programs", f.host.programs_place or "PATH"
    if f.host.missing_programs:
        text = f"{', '.join(f.host.missing_programs)} not found in {where}"
        return problem(name, text, "install PostgreSQL's server package, or set postgresql.bin_dir")
    data, program = f.host.data_version, f.host.programs_version
    if data and program and data != program:
        text = f"the data is of PostgreSQL {data}, the programs in {where} are of {program}: it will not start"
        return problem(name, text, "set postgresql.bin_dir to the programs of that version")
    return ok(name, f"all are in {where}, of PostgreSQL {program or 'unknown version'}")


CHECKS = (
    data_directory,
    data_owner,
    data_mode,
    data_mount,
    free_space,
    state_directory,
    password_file,
    secret_files,
    competing_units,
    hooks,
    programs,
)
