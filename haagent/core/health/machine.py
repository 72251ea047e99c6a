"""The node's machine and its settings: clocks, certificates, names, addresses, watchdog device, deadlines."""

from __future__ import annotations

from haagent.core.health.facts import NodeFacts
from haagent.core.health.finding import Finding, ok, problem, unknown, warning
from haagent.core.lease import DRIFT

DAY_S = 86_400.0
STEADY = frozenset({"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen", "timebase", "tod"})
"""Clock sources that are read without leaving user space, or steadily at least."""
NARROW = 0.1
"""The part of a ttl that should be left between one lost request and a demotion."""


def clock_source(f: NodeFacts) -> Finding:
    name, source = "clock-source", f.host.clock.source
    if not source:
        return unknown(name, "the kernel does not tell its clock source")
    if source in STEADY:
        return ok(name, f"{source}; the deadlines allow {100 * DRIFT:g} % between two machines' clocks")
    text = f"{source} is slow to read, and a sign that the kernel found the usual one unstable"
    return warning(name, text, "dmesg | grep -i clocksource, and see to the machine or its hypervisor")


def clock_synchronised(f: NodeFacts) -> Finding:
    name, clock = "clock-synchronised", f.host.clock
    if clock.synchronised is None:
        return unknown(name, "the kernel does not tell whether its clock is disciplined")
    if clock.synchronised:
        error = "" if clock.error_s is None else f", off by {clock.error_s * 1000:.0f} ms at most"
        return ok(name, f"the wall clock is disciplined{error}")
    text = "nothing disciplines the wall clock; leadership does not rest on it, but schedules, logs and certificates do"
    return warning(name, text, "systemctl enable --now chrony, or whatever serves NTP here")


def certificates(f: NodeFacts) -> Finding:
    name, known = "certificates", f.host.certificates
    unread = [f"{setting}: {end}" for setting, end in known.items() if isinstance(end, str)]
    if unread:
        return problem(name, "; ".join(unread), "put a certificate in PEM there, readable by the agent's user")
    days = {setting: (end - f.wall) / DAY_S for setting, end in known.items() if not isinstance(end, str)}
    if not days:
        return ok(name, "none are used")
    first = min(days, key=lambda setting: days[setting])
    text = f"{first} ends in {days[first]:.1f} days"
    mend = "replace the file, which is read again by itself"
    if days[first] < 0:
        return problem(name, f"{first} ended {-days[first]:.1f} days ago", mend)
    return warning(name, text, mend) if days[first] < 30 else ok(name, f"{len(days)}; the first one, {text}")


def names(f: NodeFacts) -> Finding:
    lost = [one for one in f.host.names if one.why]
    if lost:
        text = "; ".join(f"{one.host} ({one.owner}): {one.why}" for one in lost)
        return problem("names", f"not resolved: {text}", "add them to DNS or to /etc/hosts: getent hosts NAME")
    return ok("names", f"{len(f.host.names)} hosts of this node and its peers are resolved")


def addresses(f: NodeFacts) -> Finding:
    """Where other machines are told to find this node."""
    own = [one for one in f.host.names if not one.owner.startswith("member ")]
    bad = [one for one in own if one.host == "localhost" or any(_own(address) for address in one.addresses)]
    if not bad:
        return ok("connect-address", "other machines are given addresses that are not this machine's own")
    text = ", ".join(f"{one.owner} is {one.host}" for one in bad) + ": another machine finds itself there"
    mend = "set connect_address to a name or address that every node reaches"
    far = any(not _own(address) for one in f.host.names if one not in own for address in one.addresses)
    return problem("connect-address", text, mend) if far else warning("connect-address", text, mend)


def _own(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", "0.0.0.0", "::")


def watchdog(f: NodeFacts) -> Finding:
    name, mode, device = "watchdog", f.watchdog_mode, f.host.watchdog
    if mode == "off" or device is None:
        text = "watchdog.mode is off: a machine whose kernel hangs is not reset; guard and commit fence do the rest"
        return ok(name, text)
    known = f.view.watchdog if f.view else None
    if known is not None and known.open:
        return ok(name, f"{known.device} is open and resets this machine after {known.timeout_s} s without a renewal")
    why = (known.why if known else "") or ("" if device.there else f"{device.path} is not there")
    why = why or ("" if device.writable else f"{device.path} (mode {device.bits}) can't be written by {f.host.user}")
    mend = f"modprobe softdog && chown {f.host.user} {device.path}, also at boot"
    if not why:
        return ok(name, f"mode {mode}: {device.path} is there and can be opened when this node leads")
    return problem(name, f"{why}: this node may not lead", mend) if mode == "required" else warning(name, why, mend)


def deadlines(f: NodeFacts) -> Finding:
    t, s = f.timing, f.settings
    room = t.demote_after - (s.loop_wait + s.retry_timeout)
    text = (
        f"ttl {s.ttl:g} s: demoted {t.demote_after:.2f} s, cut {t.fence_after:.2f} s after the last renewal, every "
        f"{t.renew_every:.2f} s; loop_wait + retry_timeout = {s.loop_wait + s.retry_timeout:g} s leaves {room:.2f} s"
    )
    if room < NARROW * s.ttl:
        mend = f"haagent-ctl edit-config {f.me.scope} -s ttl={max(10, int(s.ttl * 1.5))}, or a lower retry_timeout"
        return warning("deadlines", f"{text}: one slow request of etcd may demote the primary", mend)
    return ok("deadlines", text)


def configuration(f: NodeFacts) -> Finding:
    if f.warnings:
        text = f"{len(f.warnings)} remarks: " + "; ".join(f.warnings[:5])
        return warning("configuration", text, "haagent --validate-config FILE, and mend what it names")
    return ok("configuration", "its file raised no remark")


def user(f: NodeFacts) -> Finding:
    if f.host.uid == 0:
        text = "this check runs as root; what the agent's own user may do was not seen"
        return unknown("user", text, "sudo -u postgres haagent --doctor FILE")
    return ok("user", f"the agent runs as {f.host.user}")


def gathered(f: NodeFacts) -> Finding:
    if f.unanswered:
        text = f"did not end in time: {', '.join(f.unanswered)}"
        return warning("gathered", text, "look at this machine's load, disks and resolver: uptime, iostat -x 1, getent")
    return ok("gathered", "every question ended in time")


CHECKS = (
    clock_source,
    clock_synchronised,
    certificates,
    names,
    addresses,
    watchdog,
    deadlines,
    configuration,
    user,
    gathered,
)
