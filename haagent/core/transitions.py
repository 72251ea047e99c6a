"""THE TABLE: what a node does, by state and condition; within a state the first row that fits is taken.

Laws: every state ends with a row without conditions; one row a tick; only rows to PROMOTING and PRIMARY lead to
writable states, and they ask for a term whose permit runs; ``hold`` says whether the keeper may go on renewing.
Numbers are stable: hundreds by state, with gaps; logs, metrics and the manual cite them.
"""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core import conditions as c
from haagent.core import copies, disks, following, remote, stalls
from haagent.core import orders as o
from haagent.core.conditions import Condition, data_is, job_done, job_failed, negated, refused, unfinished
from haagent.core.facts import DataKind, Goal, View
from haagent.core.intents import reason_to_restart, switch_is
from haagent.core.orders import Builder, stopper
from haagent.core.publish import clone_source
from haagent.core.states import State


@dataclass(frozen=True, slots=True)
class Row:
    """One rule: in ``state``, when all of ``when`` hold, go to ``to`` and order what ``do`` builds."""

    id: int
    state: State
    when: tuple[Condition, ...]
    to: State
    do: Builder
    why: str
    hold: bool = True
    wake_s: float | None = None
    """The longest sleep after this row; ``loop_wait`` when None."""


def source_known(v: View) -> bool:
    return clone_source(v) is not None


def goal_is(goal: Goal) -> Condition:
    def wanted(v: View) -> bool:
        return v.memory.goal is goal

    wanted.__name__ = f"goal {goal.value}"
    return wanted


def leader_ready(v: View) -> bool:
    """The leader runs as what it leads as, so that histories can be compared with its own, or with the remote one."""
    return c.leader_member_facts(v) is not None or remote.source(v) is not None


def replaceable(v: View) -> bool:
    """There is another copy: that of a leader, or the remote primary's."""
    return (c.led_by_other(v) and leader_ready(v)) or remote.is_known(v)


def may_rewind(v: View) -> bool:
    return v.settings.use_pg_rewind


def may_discard_diverged(v: View) -> bool:
    return v.settings.remove_data_directory_on_diverged_timelines


def may_discard_after_rewind(v: View) -> bool:
    return v.settings.remove_data_directory_on_rewind_failure or v.settings.remove_data_directory_on_diverged_timelines


def tried_enough(v: View) -> bool:
    return v.memory.attempts >= 3


def hook_pending(v: View) -> bool:
    return bool(v.settings.pre_promote) and not v.memory.prepared


def just_begun(v: View) -> bool:
    """The agent has not settled on what it found at its start."""
    return not v.memory.begun


def stop_overdue(v: View) -> bool:
    """An orderly stop takes longer than the operator allows (``primary_stop_timeout``; 0 sets no limit)."""
    limit, asked = v.settings.primary_stop_timeout, v.memory.stop_asked_at
    return limit > 0 and asked is not None and v.now - asked >= limit


def switch_overdue(v: View) -> bool:
    """The orderly stop for a change of leader has lasted a whole ttl: nobody may be leaderless for longer."""
    asked = v.memory.stop_asked_at
    return v.memory.goal is Goal.SWITCHOVER and asked is not None and v.now - asked >= v.settings.ttl


def stop_very_overdue(v: View) -> bool:
    """``pg_ctl_timeout`` after it was asked PostgreSQL is still there: no demotion is endless."""
    asked = v.memory.stop_asked_at
    bounded = v.settings.primary_stop_timeout > 0 and v.memory.goal not in (Goal.FOLLOW, Goal.REINIT)
    return asked is not None and v.now - asked >= v.settings.pg_ctl_timeout and not bounded


DRAINED_S = 12.0
"""After so long the control file was surely read since the stop was asked."""


def drained(v: View) -> bool:
    """Its last checkpoint is on disk, and PostgreSQL is still there: it waits for receivers that may never end."""
    asked = v.memory.stop_asked_at
    return asked is not None and v.now - asked >= DRAINED_S and c.was_shut_down(v)


def tail_safe(v: View) -> bool:
    """Whoever may lead next has it all: this node itself, or a standby that shows it."""
    end, polled, asked = v.postgres.data.checkpoint_lsn, v.peers, v.memory.stop_asked_at
    if v.memory.goal is Goal.RESTART:
        return True
    if end is None or polled is None or asked is None or polled.asked_at < asked:
        return False
    return any(r.reached and r.running and r.in_recovery and r.tags.may_lead and r.lsn > end for r in polled.replies)


def tail_asked(v: View) -> bool:
    """The standbys were asked a moment ago."""
    return v.peers is not None and v.now - v.peers.asked_at < 1.0


def killed_in_vain(v: View) -> bool:
    """The immediate stop was asked a second ago, and processes are still there."""
    asked = v.memory.stop_asked_at
    return v.memory.stop_mode in ("immediate", "kill") and asked is not None and v.now - asked >= 1.0


def promote_stuck(v: View) -> bool:
    """PostgreSQL was not told yet, or has not obeyed for a second."""
    at = v.memory.promoted_at
    return at is None or v.now - at >= 1.0 or refused("PutSync")(v) or refused("ClaimTimeline")(v)


def about_to_stop(v: View) -> bool:
    return (
        (v.stopping and not v.settings.pause) or c.reinit_asked(v) or reason_to_restart(v) or copies.wait_for_start(v)
    )


def follows_elsewhere(v: View) -> bool:
    """This is a standby cluster, where nothing may be writable unless it is paused."""
    return remote.is_set(v) and not v.settings.pause


def guardless(v: View) -> bool:
    """In service without a guard; in a paused cluster none is needed."""
    return not c.guard_ready(v) and not v.settings.pause


def guard_missing(v: View) -> bool:
    """A guard has been asked for in vain for a whole ttl."""
    since = v.memory.guardless_since
    return since is not None and v.now - since >= v.settings.ttl


def guard_overdue(v: View) -> bool:
    """A promotion has waited five seconds for its guard."""
    return v.now - v.memory.since >= 5.0


S = State

# fmt: off
TABLE: tuple[Row, ...] = (
    # --- vacant: there is no data ---
    Row(101, S.VACANT, (c.stopping,), S.VACANT, o.leave,
        "the agent was asked to stop"),
    Row(103, S.VACANT, (c.immovable,), S.FAILED, o.say_immovable,
        "the data directory can't be moved aside: it is left as it is"),
    Row(105, S.VACANT, (data_is(DataKind.VALID),), S.FENCED, o.nothing,
        "a data directory has appeared", wake_s=0.0),
    Row(106, S.VACANT, (data_is(DataKind.UNKNOWN),), S.VACANT, o.nothing,
        "the disk does not say what lies in the data directory", wake_s=0.5),
    Row(107, S.VACANT, (data_is(DataKind.UNMOUNTED),), S.VACANT, o.say_data,
        "the file system of the data directory is not mounted: nothing is built in its place", wake_s=1.0),
    Row(108, S.VACANT, (data_is(DataKind.UNREADABLE),), S.FAILED, o.need_operator,
        "the data directory holds files but no readable control file: it is left as it is"),
    Row(110, S.VACANT, (c.silent,), S.VACANT, o.nothing,
        "there is no data, and the DCS does not answer"),
    Row(115, S.VACANT, (unfinished("initializing"),), S.VACANT, o.undo_bootstrap,
        "a bootstrap was interrupted: its directory is moved aside", wake_s=0.0),
    Row(118, S.VACANT, (data_is(DataKind.UNFINISHED),), S.VACANT, o.move_unfinished_aside,
        "an unfinished copy can't be started: it is moved aside", wake_s=0.0),
    Row(120, S.VACANT, (c.waiting,), S.VACANT, o.nothing,
        "the last try failed: a pause before the next", wake_s=1.0),
    Row(130, S.VACANT, (source_known,), S.CLONING, o.clone,
        "the cluster has a primary to clone from"),
    Row(135, S.VACANT, (c.restorable,), S.CLONING, o.clone_without_leader,
        "nobody leads the cluster, and a replica can be made without a leader"),
    Row(140, S.VACANT,
        (c.uninitialized, c.let_go, c.never_led, c.nobody_has_data, c.may_lead_here, negated(c.paused)),
        S.INITIALIZING, o.claim_bootstrap,
        "the cluster does not exist yet: this node claims its bootstrap", wake_s=0.0),
    Row(150, S.VACANT, (c.initialize_orphaned, c.long_since), S.VACANT, o.release_orphaned_bootstrap,
        "a bootstrap was claimed, and no member is at it: the claim is released", wake_s=0.0),
    Row(199, S.VACANT, (), S.VACANT, o.nothing,
        "there is no data, and no running primary to clone from yet", wake_s=1.0),
    # --- initializing: this node makes the cluster ---
    Row(205, S.INITIALIZING, (refused("BeginInitialize"),), S.VACANT, o.nothing,
        "another node claimed the bootstrap first", wake_s=0.2),
    Row(210, S.INITIALIZING, (c.stopping, c.busy), S.INITIALIZING, o.end_job,
        "the agent was asked to stop"),
    Row(220, S.INITIALIZING, (c.busy,), S.INITIALIZING, o.nothing,
        "initdb and the bootstrap scripts are running"),
    Row(230, S.INITIALIZING, (job_done("initialize"), negated(c.silent)), S.CANDIDATE, o.publish_cluster,
        "the new cluster is made: it is published, and this node campaigns", wake_s=0.0),
    Row(235, S.INITIALIZING, (job_done("clone"), negated(c.silent)), S.STARTING, following.publish_cluster,
        "the copy of the remote primary is complete: the standby cluster is published", wake_s=0.1),
    Row(240, S.INITIALIZING, (job_failed("initialize"),), S.VACANT, o.give_bootstrap_up,
        "the bootstrap failed: the claim is released, the directory moved aside"),
    Row(245, S.INITIALIZING, (job_failed("clone"),), S.VACANT, o.give_bootstrap_up,
        "the remote primary could not be copied: the claim is released, the directory moved aside"),
    Row(250, S.INITIALIZING, (job_done("initialize"),), S.INITIALIZING, o.nothing,
        "the new cluster is made, but the DCS does not answer"),
    Row(255, S.INITIALIZING, (job_done("clone"),), S.INITIALIZING, o.nothing,
        "the copy of the remote primary is complete, but the DCS does not answer"),
    Row(290, S.INITIALIZING, (remote.is_set,), S.INITIALIZING, following.copy_remote,
        "this node makes a standby cluster: it copies the remote primary"),
    Row(299, S.INITIALIZING, (), S.INITIALIZING, o.run_initdb,
        "this node makes the new cluster"),
    # --- cloning ---
    Row(310, S.CLONING, (c.stopping, c.busy), S.CLONING, o.end_job,
        "the agent was asked to stop", wake_s=0.2),
    Row(320, S.CLONING, (c.busy,), S.CLONING, o.nothing,
        "a copy is being made", wake_s=1.0),
    Row(330, S.CLONING, (c.stopping,), S.CLONING, o.leave,
        "the agent was asked to stop"),
    Row(340, S.CLONING, (job_done("clone"),), S.STARTING, o.start_clone,
        "the copy is complete", wake_s=0.1),
    Row(350, S.CLONING, (job_failed("clone"),), S.VACANT, o.clone_failed,
        "no copy could be made: what there is of it is moved aside"),
    Row(399, S.CLONING, (), S.VACANT, o.nothing,
        "no copy is under way", wake_s=0.0),
    # --- starting: as a standby ---
    Row(405, S.STARTING, (c.stopping, c.paused), S.STARTING, o.leave_running,
        "the agent was asked to stop"),
    Row(410, S.STARTING, (c.stopping, c.running), S.DEMOTING, stopper(Goal.SHUTDOWN),
        "the agent was asked to stop"),
    Row(420, S.STARTING, (refused("StartStandby"),), S.FENCED, o.start_failed,
        "PostgreSQL could not be started"),
    Row(430, S.STARTING, (c.down,), S.FENCED, o.start_failed,
        "PostgreSQL ended while it was starting; its log says why"),
    Row(440, S.STARTING, (c.answers, c.writable), S.DEMOTING, stopper(Goal.LEASE, "immediate"),
        "PostgreSQL came up writable although it was started as a standby", hold=False, wake_s=0.05),
    Row(450, S.STARTING, (c.answers,), S.STANDBY, o.settle,
        "PostgreSQL answers as a standby", wake_s=0.0),
    Row(460, S.STARTING, (c.reinit_asked,), S.DEMOTING, stopper(Goal.REINIT, "fast", "reinitialize"),
        "an operator asked for a new copy"),
    Row(470, S.STARTING, (job_done("compare"), negated(c.verdict_known)), S.STARTING, o.note_verdict,
        "the histories were compared", wake_s=0.0),
    Row(472, S.STARTING, (c.diverged, stalls.copy_stopped, negated(c.paused)), S.DEMOTING, o.stop_for_new_copy,
        "PostgreSQL waits for WAL that is gone: this node is cloned anew", wake_s=0.05),
    Row(475, S.STARTING, (c.diverged, negated(c.paused)), S.DEMOTING, stopper(Goal.FOLLOW),
        "the history that PostgreSQL still replays has parted from the leader's", wake_s=0.05),
    Row(480, S.STARTING, (job_failed("compare"),), S.STARTING, o.compare_failed,
        "the histories could not be compared"),
    Row(485, S.STARTING, (c.long_begun, leader_ready, negated(c.verdict_known), negated(c.busy), negated(c.waiting)),
        S.STARTING, o.compare,
        "PostgreSQL does not get as far as to answer: its history is compared with the leader's"),
    Row(499, S.STARTING, (), S.STARTING, o.follow,
        "PostgreSQL is starting as a standby", wake_s=0.1),
    # --- standby ---
    Row(505, S.STANDBY, (c.stopping, c.paused), S.STANDBY, o.leave_running,
        "the agent was asked to stop"),
    Row(508, S.STANDBY, (about_to_stop, c.counted_on, c.running), S.STANDBY, o.ask_to_be_let_go,
        "it is about to stop, and commits wait for it: the leader is asked to do without it", wake_s=0.1),
    Row(510, S.STANDBY, (c.stopping, c.running), S.DEMOTING, stopper(Goal.SHUTDOWN),
        "the agent was asked to stop", wake_s=0.05),
    Row(515, S.STANDBY, (c.down, c.paused), S.FENCED, o.nothing,
        "PostgreSQL has ended while the cluster is paused"),
    Row(520, S.STANDBY, (c.down,), S.FENCED, o.nothing,
        "PostgreSQL has ended", wake_s=0.0),
    Row(522, S.STANDBY, (disks.data_gone, negated(c.paused)), S.DEMOTING, stopper(Goal.FOLLOW, "immediate"),
        "the data directory has vanished from under PostgreSQL", wake_s=0.05),
    Row(525, S.STANDBY, (c.writable, negated(c.paused)), S.DEMOTING, stopper(Goal.LEASE, "immediate"),
        "PostgreSQL was promoted without the leader key: it is stopped", hold=False, wake_s=0.05),
    Row(527, S.STANDBY, (c.writable, c.won_unheard), S.CANDIDATE, o.nothing,
        "a primary runs in a paused cluster, and the leader key was won by it unheard", wake_s=0.0),
    Row(528, S.STANDBY, (c.writable, c.vacancy, negated(c.barred), negated(c.standing_back)), S.CANDIDATE, o.ask_peers,
        "a primary runs in a paused cluster, and nobody leads: the peers are asked", wake_s=0.0),
    Row(530, S.STANDBY, (c.writable,), S.STANDBY, o.nothing,
        "PostgreSQL was promoted by hand in a paused cluster"),
    Row(535, S.STANDBY, (c.foreign_system,), S.STANDBY, o.refuse_to_run,
        "the data belongs to another cluster"),
    Row(540, S.STANDBY, (c.reinit_asked,), S.DEMOTING, stopper(Goal.REINIT, "fast", "reinitialize"),
        "an operator asked for a new copy", wake_s=0.05),
    Row(545, S.STANDBY, (reason_to_restart,), S.DEMOTING, stopper(Goal.RESTART, "fast", "restart"),
        "an operator asked for a restart", wake_s=0.05),
    Row(547, S.STANDBY, (stalls.short, negated(c.paused)), S.DEMOTING, o.restart_with_more,
        "replay has stopped, because the primary has more of what a standby must have as well: it is restarted",
        wake_s=0.05),
    Row(548, S.STANDBY, (c.silent, c.promised), S.STANDBY, o.keep_promise,
        "the DCS does not answer, and this node promised a primary that goes on not to take its key", wake_s=1.0),
    Row(550, S.STANDBY, (c.silent,), S.STANDBY, o.nothing,
        "the DCS does not answer: this standby goes on as it is"),
    Row(552, S.STANDBY, (c.holds_term, c.unwritable), S.STANDBY, o.give_key_up,
        "a standby gives up the leader key that it still holds", hold=False, wake_s=0.2),
    Row(553, S.STANDBY, (job_failed("compare"), c.leaderless, remote.is_known), S.STANDBY, o.compare_failed,
        "the remote primary could not be asked"),
    Row(555, S.STANDBY, (c.led_by_my_past,), S.STANDBY, o.depose_own_past,
        "the leader key of this node's own past is given up", wake_s=0.0),
    Row(556, S.STANDBY, (job_done("compare"), negated(c.verdict_known), c.leaderless, remote.is_known), S.STANDBY,
        o.note_verdict, "the histories were compared", wake_s=0.0),
    Row(557, S.STANDBY, (c.diverged, c.leaderless, remote.is_known, negated(c.paused)), S.DEMOTING,
        stopper(Goal.FOLLOW), "this standby's history has parted from the remote primary's", wake_s=0.05),
    Row(558, S.STANDBY, (c.leaderless, c.promised), S.STANDBY, o.keep_promise,
        "the leader key is gone, but this node promised a primary without etcd not to take it", wake_s=1.0),
    Row(559, S.STANDBY, (c.handing_over_unnoted, c.eligible, c.answers), S.STANDBY, o.ask_whoever_led,
        "Patroni's leader has deleted its key: it is asked whether its PostgreSQL is down", wake_s=0.1),
    Row(560, S.STANDBY, (c.vacancy, c.eligible, c.answers), S.CANDIDATE, o.ask_peers,
        "the leader key is free: the peers are asked", wake_s=0.0),
    Row(561, S.STANDBY, (c.vacancy, remote.is_known, negated(c.verdict_known), negated(c.busy), negated(c.waiting)),
        S.STANDBY, o.compare, "nobody leads, and it may not: its history is compared with the remote primary's"),
    Row(562, S.STANDBY, (c.vacancy, c.barred, negated(c.standing_back)), S.STANDBY, o.why_waiting,
        "leaderless: this node may lack acknowledged commits"),
    Row(565, S.STANDBY, (c.vacancy,), S.STANDBY, o.why_waiting,
        "the leader key is free, but this node may not lead", wake_s=0.2),
    Row(568, S.STANDBY, (job_done("compare"), stalls.stalled), S.STANDBY, o.note_verdict,
        "the leader was asked why this standby does not get any further", wake_s=0.0),
    Row(570, S.STANDBY, (job_done("compare"), negated(c.verdict_known)), S.STANDBY, o.note_verdict,
        "the histories were compared", wake_s=0.0),
    Row(572, S.STANDBY, (job_failed("compare"),), S.STANDBY, o.compare_failed,
        "the histories could not be compared"),
    Row(573, S.STANDBY, (stalls.wal_gone, negated(c.paused)), S.DEMOTING, o.stop_for_new_copy,
        "the WAL that this standby needs next is gone: it is cloned anew", wake_s=0.05),
    Row(575, S.STANDBY, (c.diverged, negated(c.paused)), S.DEMOTING, stopper(Goal.FOLLOW),
        "this standby's history has parted from the leader's", wake_s=0.05),
    Row(577, S.STANDBY, (c.stranded, negated(c.paused), negated(c.busy)), S.DEMOTING, o.rejoin,
        "PostgreSQL waits for a timeline that nobody leads any more: it is started anew", wake_s=0.05),
    Row(580, S.STANDBY, (c.history_suspect, negated(c.busy), negated(c.waiting)), S.STANDBY, o.compare,
        "this standby does not stream: its history is compared with the leader's"),
    Row(582, S.STANDBY, (stalls.question_due, negated(c.busy), negated(c.waiting)), S.STANDBY, o.ask_why_stalled,
        "this standby neither streams nor gets any further: the leader is asked why"),
    Row(585, S.STANDBY, (copies.wait_for_start,), S.DEMOTING, stopper(Goal.RESTART),
        "logical slots were copied from the primary: PostgreSQL is restarted to take them up", wake_s=0.05),
    Row(599, S.STANDBY, (), S.STANDBY, o.follow,
        "it follows the leader"),
    # --- candidate ---
    Row(602, S.CANDIDATE, (c.stopping, c.paused, c.writable), S.CANDIDATE, o.leave_running,
        "the agent was asked to stop"),
    Row(603, S.CANDIDATE, (remote.is_set, c.writable, negated(c.paused)), S.DEMOTING, stopper(Goal.ELSEWHERE),
        "a running primary is stopped: the cluster follows a remote one", wake_s=0.05),
    Row(604, S.CANDIDATE, (remote.is_set, c.holds_term, c.gone), S.FENCED, o.give_key_up,
        "PostgreSQL has ended in a standby cluster: the leader key is given up", hold=False, wake_s=0.0),
    Row(605, S.CANDIDATE, (c.holds_term, c.stopping, c.down), S.FENCED, o.resign,
        "the agent was asked to stop"),
    Row(606, S.CANDIDATE, (c.holds_term, c.lease_lost), S.FENCED, o.resign,
        "the leader key was won and lost again", hold=False, wake_s=0.0),
    Row(607, S.CANDIDATE, (remote.is_set, c.leads, c.answers, c.in_recovery), S.STANDBY_LEADER, following.begin,
        "the leader key was won: this node follows the remote primary", wake_s=0.0),
    Row(608, S.CANDIDATE, (c.won_unheard, negated(c.barred), negated(c.votes_missing)), S.CANDIDATE, o.reclaim,
        "the leader key was won, but the answer was lost: it is asked for once more", wake_s=0.05),
    Row(610, S.CANDIDATE, (c.leads, c.writable), S.PRIMARY, o.adopt,
        "the running primary came under this node's lease without a restart", wake_s=0.0),
    Row(611, S.CANDIDATE, (c.leads, c.watchdog_due), S.CANDIDATE, o.open_watchdog,
        "the leader key was won: the watchdog device is opened before anything is writable", wake_s=0.0),
    Row(612, S.CANDIDATE, (c.leads, c.unwatched, c.gone), S.FENCED, o.leave_unwatched,
        "the leader key was won, but there is no watchdog device, which leading requires"),
    Row(613, S.CANDIDATE, (c.leads, c.unwatched), S.STANDBY, o.leave_unwatched,
        "the leader key was won, but no watchdog device could be had, which leading requires"),
    Row(615, S.CANDIDATE, (c.leads, c.in_recovery, job_failed("pre_promote")), S.STANDBY, o.veto,
        "pre_promote forbade the promotion"),
    Row(618, S.CANDIDATE, (c.leads, c.in_recovery, job_done("pre_promote")), S.PROMOTING, o.promote,
        "the leader key was won, and pre_promote agrees", wake_s=0.02),
    Row(620, S.CANDIDATE, (c.leads, c.in_recovery, hook_pending, negated(c.busy)), S.CANDIDATE, o.pre_promote,
        "the leader key was won: pre_promote is asked", wake_s=0.1),
    Row(621, S.CANDIDATE, (c.leads, c.in_recovery, hook_pending), S.CANDIDATE, o.nothing,
        "pre_promote is running", wake_s=0.2),
    Row(625, S.CANDIDATE, (c.leads, c.in_recovery), S.PROMOTING, o.promote,
        "the leader key was won", wake_s=0.02),
    Row(630, S.CANDIDATE, (c.leads, c.gone), S.PROMOTING, o.start_primary,
        "the leader key was won by the node that made the cluster", wake_s=0.05),
    Row(640, S.CANDIDATE, (c.silent, c.writable, negated(c.paused)), S.DEMOTING, stopper(Goal.LEASE),
        "a running primary without a lease is stopped: the DCS does not answer", hold=False, wake_s=0.05),
    Row(645, S.CANDIDATE, (c.writable, negated(c.vacancy), negated(c.paused)),
        S.DEMOTING, stopper(Goal.LEASE, "immediate"),
        "a running primary without a lease is stopped: another node leads", hold=False, wake_s=0.05),
    Row(648, S.CANDIDATE, (c.writable, c.barred, negated(c.paused)), S.DEMOTING, stopper(Goal.LEASE, "immediate"),
        "a running primary without a lease is stopped: another was primary after it", hold=False, wake_s=0.05),
    Row(649, S.CANDIDATE, (c.writable, c.barred), S.CANDIDATE, o.why_waiting,
        "a running primary in a paused cluster may not lead: another was primary after it"),
    Row(650, S.CANDIDATE, (c.down,), S.FENCED, o.nothing,
        "PostgreSQL has ended", wake_s=0.0),
    Row(655, S.CANDIDATE, (c.stopping,), S.STANDBY, o.nothing,
        "the agent was asked to stop", wake_s=0.0),
    Row(660, S.CANDIDATE, (negated(c.vacancy),), S.STANDBY, o.follow,
        "another node took the leader key", wake_s=0.0),
    Row(665, S.CANDIDATE, (negated(c.eligible), negated(c.writable)), S.STANDBY, o.why_waiting,
        "this node may not lead"),
    Row(670, S.CANDIDATE, (negated(c.poll_fresh),), S.CANDIDATE, o.ask_peers,
        "the peers are asked", wake_s=0.0),
    Row(675, S.CANDIDATE, (c.primary_about, c.in_recovery), S.CANDIDATE, o.await_primary,
        "a peer still answers as a primary: its end is awaited", wake_s=c.STAND_BACK_S),
    Row(678, S.CANDIDATE, (c.outdated, c.writable, negated(c.paused)), S.DEMOTING, stopper(Goal.LEASE),
        "a running primary without a lease is stopped: a peer's history is later", hold=False, wake_s=0.05),
    Row(679, S.CANDIDATE, (c.outdated, c.writable), S.CANDIDATE, o.nothing,
        "a running primary in a paused cluster may not lead: a peer's history is later"),
    Row(680, S.CANDIDATE, (c.outranked, negated(c.writable)), S.CANDIDATE, o.stand_back,
        "a peer is better placed: it is given the time to take the key", wake_s=c.STAND_BACK_S),
    Row(685, S.CANDIDATE, (c.votes_missing,), S.CANDIDATE, o.await_votes,
        "leaderless: too few nodes show that this one holds every acknowledged commit", wake_s=0.5),
    Row(690, S.CANDIDATE, (c.campaign_failed,), S.STANDBY, o.campaign_lost,
        "the campaign was lost", wake_s=0.05),
    Row(699, S.CANDIDATE, (), S.CANDIDATE, o.campaign,
        "this node is the best that may lead: it campaigns", wake_s=0.0),
    # --- promoting: the key is held, PostgreSQL is to be writable soon ---
    Row(705, S.PROMOTING, (c.lease_lost, c.gone), S.FENCED, o.resign,
        "the lease was lost, and PostgreSQL is down", hold=False, wake_s=0.0),
    Row(710, S.PROMOTING, (c.lease_lost,), S.DEMOTING, stopper(Goal.LEASE, "immediate"),
        "the lease was lost during the promotion", hold=False, wake_s=0.02),
    Row(712, S.PROMOTING, (remote.is_set, c.gone), S.FENCED, o.resign,
        "the cluster is to follow a remote primary, and PostgreSQL is down", wake_s=0.0),
    Row(713, S.PROMOTING, (remote.is_set, c.running, negated(c.writable)), S.DEMOTING, stopper(Goal.ELSEWHERE),
        "the cluster is to follow a remote primary: the promotion is broken off", wake_s=0.05),
    Row(715, S.PROMOTING, (c.demote_due,), S.DEMOTING, stopper(Goal.LEASE, "immediate"),
        "the lease could not be renewed in time", hold=False, wake_s=0.02),
    Row(717, S.PROMOTING, (c.unwatched, c.gone), S.FENCED, o.hand_over,
        "the watchdog device, which leading requires, is lost", wake_s=0.0),
    Row(718, S.PROMOTING, (c.unwatched,), S.DEMOTING, stopper(Goal.HANDOVER, "immediate"),
        "the watchdog device, which leading requires, is lost: PostgreSQL is stopped", wake_s=0.05),
    Row(720, S.PROMOTING, (c.guard_fired, c.gone), S.FENCED, o.hand_over,
        "the guard has fenced this node", wake_s=0.0),
    Row(725, S.PROMOTING, (c.stopping, c.running), S.DEMOTING, stopper(Goal.SHUTDOWN),
        "the agent was asked to stop", wake_s=0.05),
    Row(727, S.PROMOTING, (c.gone, disks.disk_unfit), S.FENCED, o.hand_over_disk,
        "PostgreSQL ended, and its disk does not take what a start needs: leadership is given up", wake_s=0.0),
    Row(728, S.PROMOTING, (c.gone, c.breaker_tripped), S.FENCED, o.hand_over,
        "PostgreSQL has crashed too often: leadership is given up", wake_s=0.0),
    Row(730, S.PROMOTING, (c.gone, c.handover_wanted), S.FENCED, o.hand_over,
        "PostgreSQL ended during its start, and primary_start_timeout is 0: leadership is given up", wake_s=0.0),
    Row(735, S.PROMOTING, (c.gone,), S.PROMOTING, o.start_primary,
        "PostgreSQL ended during its start: it is started again", wake_s=0.05),
    Row(740, S.PROMOTING, (c.down,), S.PROMOTING, o.kill_orphans,
        "processes of the ended PostgreSQL linger", hold=False, wake_s=0.05),
    Row(745, S.PROMOTING, (c.answers, c.writable), S.PRIMARY, o.begin_to_lead,
        "PostgreSQL accepts writes", wake_s=0.0),
    Row(748, S.PROMOTING, (guardless, c.in_recovery, guard_overdue), S.DEMOTING, stopper(Goal.HANDOVER, "immediate"),
        "no guard could be armed: PostgreSQL, already told to promote, is stopped", wake_s=0.05),
    Row(750, S.PROMOTING, (c.start_overdue,), S.DEMOTING, stopper(Goal.HANDOVER, "immediate"),
        "PostgreSQL did not become writable within primary_start_timeout", wake_s=0.05),
    Row(755, S.PROMOTING, (c.answers, c.in_recovery, promote_stuck), S.PROMOTING, o.promote_again,
        "PostgreSQL is still in recovery: the promotion is asked again", wake_s=0.1),
    Row(790, S.PROMOTING, (guardless,), S.PROMOTING, o.rearm,
        "a pause ended, or the guard was lost, while PostgreSQL starts: the guard is given the permit", wake_s=0.1),
    Row(799, S.PROMOTING, (), S.PROMOTING, o.say_replay,
        "PostgreSQL is on its way to being writable", wake_s=0.03),
    # --- primary ---
    Row(805, S.PRIMARY, (c.stopping, c.paused), S.PRIMARY, o.leave_running,
        "the agent was asked to stop"),
    Row(810, S.PRIMARY, (c.gone, c.lease_lost), S.FENCED, o.resign,
        "the lease was lost, and PostgreSQL is down", hold=False, wake_s=0.0),
    Row(812, S.PRIMARY, (c.outlives_its_key, c.silent, negated(c.stopping), c.answers, c.writable),
        S.PRIMARY, o.nothing,
        "the leader key is lost and the DCS silent again, but all other members promised to wait", wake_s=0.2),
    Row(813, S.PRIMARY, (c.paused, c.lease_lost, c.silent), S.PRIMARY, o.nothing,
        "the lease was lost in a paused cluster: the key is asked for again once the DCS answers", wake_s=1.0),
    Row(814, S.PRIMARY, (c.robbed, negated(c.stopping), c.answers, c.writable), S.PRIMARY, o.reclaim,
        "the leader key has vanished while this node's permit runs: it is asked for again", wake_s=0.0),
    Row(815, S.PRIMARY, (c.lease_lost,), S.DEMOTING, stopper(Goal.LEASE, "immediate"),
        "the lease was lost", hold=False, wake_s=0.02),
    Row(820, S.PRIMARY, (c.demote_due,), S.DEMOTING, stopper(Goal.LEASE),
        "the lease could not be renewed in time", hold=False, wake_s=0.05),
    Row(822, S.PRIMARY, (c.deposed,), S.DEMOTING, stopper(Goal.LEASE, "immediate"),
        "the leader key is not this node's any more", hold=False, wake_s=0.02),
    Row(825, S.PRIMARY, (c.gone, c.guard_fired), S.FENCED, o.hand_over,
        "the guard has fenced this node", wake_s=0.0),
    Row(826, S.PRIMARY, (remote.is_set, c.gone, negated(c.paused)), S.FENCED, o.resign,
        "the cluster is to follow a remote primary, and PostgreSQL is down", wake_s=0.0),
    Row(827, S.PRIMARY, (remote.is_set, c.running, negated(c.paused), negated(c.stopping)), S.DEMOTING,
        stopper(Goal.ELSEWHERE), "the cluster is to follow a remote primary: PostgreSQL is stopped", wake_s=0.05),
    Row(828, S.PRIMARY, (c.stopping, c.gone), S.FENCED, o.resign,
        "the agent was asked to stop", wake_s=0.0),
    Row(829, S.PRIMARY, (c.stopping,), S.DEMOTING, stopper(Goal.SHUTDOWN),
        "the agent was asked to stop", wake_s=0.05),
    Row(830, S.PRIMARY, (c.gone, negated(data_is(DataKind.VALID, DataKind.UNKNOWN))), S.FENCED, o.hand_over,
        "PostgreSQL is down and its data can't be read: leadership is given up", wake_s=0.0),
    Row(831, S.PRIMARY, (c.down, c.paused), S.PRIMARY, o.nothing,
        "PostgreSQL is down while the cluster is paused"),
    Row(832, S.PRIMARY, (c.gone, c.handover_wanted), S.FENCED, o.hand_over,
        "PostgreSQL has crashed, and primary_start_timeout is 0: leadership is given up", wake_s=0.0),
    Row(833, S.PRIMARY, (c.gone, disks.disk_unfit), S.FENCED, o.hand_over_disk,
        "PostgreSQL is down, and its disk does not take what a start needs: leadership is given up", wake_s=0.0),
    Row(834, S.PRIMARY, (c.gone, c.breaker_tripped), S.FENCED, o.hand_over,
        "PostgreSQL has crashed too often: leadership is given up", wake_s=0.0),
    Row(835, S.PRIMARY, (c.gone, c.unwatched), S.FENCED, o.hand_over,
        "PostgreSQL has crashed, and the watchdog device, which leading requires, is lost", wake_s=0.0),
    Row(836, S.PRIMARY, (c.gone,), S.PROMOTING, o.start_primary,
        "PostgreSQL has crashed: it is started again in place", wake_s=0.05),
    Row(838, S.PRIMARY, (c.down,), S.PRIMARY, o.kill_orphans,
        "processes of the ended PostgreSQL linger", hold=False, wake_s=0.05),
    Row(839, S.PRIMARY, (disks.data_gone, negated(c.paused)), S.DEMOTING, stopper(Goal.HANDOVER, "immediate"),
        "the data directory has vanished from under PostgreSQL: leadership is given up", wake_s=0.05),
    Row(840, S.PRIMARY, (c.hung, negated(c.paused)), S.DEMOTING, stopper(Goal.HANDOVER, "immediate"),
        "PostgreSQL has not answered for a whole ttl: leadership is given up", wake_s=0.05),
    Row(841, S.PRIMARY, (disks.unwritable_disk, disks.others_run, negated(c.paused)), S.DEMOTING, o.stop_on_bad_disk,
        "its disk takes no writes: leadership is given up", wake_s=0.05),
    Row(842, S.PRIMARY, (c.recovering, negated(c.paused)), S.PROMOTING, o.nothing,
        "PostgreSQL recovers from the crash of one of its processes", wake_s=0.05),
    Row(844, S.PRIMARY, (c.answers, c.in_recovery, c.unwatched), S.DEMOTING, stopper(Goal.HANDOVER, "immediate"),
        "PostgreSQL is a standby by other hands, and the watchdog device, which leading requires, is lost",
        wake_s=0.05),
    Row(845, S.PRIMARY, (c.answers, c.in_recovery, negated(c.paused)), S.PROMOTING, o.promote,
        "PostgreSQL was restarted as a standby by other hands: it is promoted again", wake_s=0.02),
    Row(848, S.PRIMARY, (guardless, guard_missing), S.DEMOTING, stopper(Goal.HANDOVER),
        "no guard could be had for a whole ttl: leadership is given up", wake_s=0.05),
    Row(849, S.PRIMARY, (c.watchdog_missing,), S.DEMOTING, stopper(Goal.HANDOVER),
        "the watchdog device, which leading requires, could not be had for a whole ttl", wake_s=0.05),
    Row(850, S.PRIMARY, (guardless,), S.PRIMARY, o.rearm,
        "the guard does not answer: it is started again and given the permit", wake_s=0.5),
    Row(860, S.PRIMARY, (reason_to_restart,), S.DEMOTING, stopper(Goal.RESTART, "fast", "restart"),
        "an operator asked for a restart", wake_s=0.05),
    Row(865, S.PRIMARY, (switch_is("ask"),), S.PRIMARY, o.ask_peers,
        "a change of leader was asked for", wake_s=0.0),
    Row(870, S.PRIMARY, (switch_is("refuse"),), S.PRIMARY, o.refuse_switch,
        "the change of leader is refused", wake_s=0.0),
    Row(875, S.PRIMARY, (switch_is("prepare"),), S.PRIMARY, o.prepare_switch,
        "a change of leader: a checkpoint first, so that the stop is short", wake_s=0.1),
    Row(876, S.PRIMARY, (switch_is("preparing"),), S.PRIMARY, o.lead,
        "the checkpoint is running", wake_s=0.2),
    Row(880, S.PRIMARY, (switch_is("go"),), S.DEMOTING, stopper(Goal.SWITCHOVER),
        "a change of leader: PostgreSQL is stopped in good order", wake_s=0.05),
    Row(895, S.PRIMARY, (c.silent, c.vouched), S.PRIMARY, o.lead_by_promises,
        "the DCS does not answer, and all other members promised to wait: it goes on in failsafe mode"),
    Row(899, S.PRIMARY, (), S.PRIMARY, o.lead,
        "it leads"),
    # --- demoting: PostgreSQL is being stopped ---
    Row(905, S.DEMOTING, (c.gone, goal_is(Goal.RESTART), c.leads, negated(c.stopping), negated(c.unwatched),
        negated(remote.is_set)), S.PROMOTING, o.start_primary,
        "PostgreSQL is stopped and starts again", wake_s=0.05),
    Row(908, S.DEMOTING, (c.gone, goal_is(Goal.REINIT), negated(c.holds_term), stalls.copy_stopped,
        negated(source_known)), S.FENCED, o.stopped,
        "PostgreSQL was stopped for a new copy, but nobody is there any more to take it from: this one is kept",
        wake_s=0.0),
    Row(910, S.DEMOTING, (c.gone, goal_is(Goal.REINIT), negated(c.holds_term)), S.VACANT, o.reinit_aside,
        "PostgreSQL is stopped and its copy is moved aside", wake_s=0.0),
    Row(915, S.DEMOTING, (c.gone, c.holds_term), S.FENCED, o.resign,
        "PostgreSQL is stopped: the leader key is given up", hold=False, wake_s=0.0),
    Row(920, S.DEMOTING, (c.gone,), S.FENCED, o.stopped,
        "PostgreSQL is stopped", wake_s=0.0),
    Row(925, S.DEMOTING, (c.down,), S.DEMOTING, o.kill_orphans,
        "processes of the ended PostgreSQL linger", hold=False, wake_s=0.05),
    Row(930, S.DEMOTING, (killed_in_vain,), S.DEMOTING, o.kill,
        "the immediate stop did not end PostgreSQL: every process is killed", hold=False, wake_s=0.2),
    Row(935, S.DEMOTING, (c.holds_term, c.permit_near_end, c.stopping_fast), S.DEMOTING, o.stop_immediately,
        "the permit ends soon: PostgreSQL is stopped at once", hold=False, wake_s=0.05),
    Row(938, S.DEMOTING, (switch_overdue, c.stopping_fast, c.leads, negated(c.stopping)), S.DEMOTING,
        o.call_switch_off, "the change of leader takes too long: PostgreSQL is to start again here", wake_s=0.05),
    Row(940, S.DEMOTING, (stop_overdue, c.stopping_fast), S.DEMOTING, o.stop_immediately,
        "the orderly stop takes longer than primary_stop_timeout", wake_s=0.05),
    Row(942, S.DEMOTING, (drained, tail_safe, c.stopping_fast), S.DEMOTING, o.stop_immediately,
        "all it wrote is on disk and where it is needed: a receiver that does not end is not waited for", wake_s=0.05),
    Row(943, S.DEMOTING, (drained, negated(tail_asked), c.stopping_fast), S.DEMOTING, o.ask_peers,
        "a receiver holds the stop up: the standbys are asked whether they have all that was written", wake_s=0.1),
    Row(945, S.DEMOTING, (stop_very_overdue, c.stopping_fast), S.DEMOTING, o.stop_immediately,
        "the orderly stop takes longer than pg_ctl_timeout", wake_s=0.05),
    Row(990, S.DEMOTING, (goal_is(Goal.LEASE),), S.DEMOTING, o.nothing,
        "PostgreSQL is being stopped because the lease ends", hold=False, wake_s=0.05),
    Row(999, S.DEMOTING, (), S.DEMOTING, o.nothing,
        "PostgreSQL is being stopped in good order", wake_s=0.1),
    # --- fenced: PostgreSQL is down, or was found running at the start ---
    Row(1000, S.FENCED, (c.stopping, c.paused, c.running), S.FENCED, o.leave_running,
        "the agent was asked to stop"),
    Row(1001, S.FENCED, (c.stopping, c.gone), S.FENCED, o.resign_and_leave,
        "the agent was asked to stop"),
    Row(1003, S.FENCED, (c.foreign_system, negated(c.holds_term)), S.FAILED, o.refuse_to_run,
        "the data belongs to another cluster"),
    Row(1004, S.FENCED, (remote.is_set, c.holds_term, c.gone), S.FENCED, o.give_key_up,
        "PostgreSQL is down in a standby cluster: the leader key is given up", hold=False, wake_s=0.05),
    Row(1005, S.FENCED, (c.holds_term, negated(c.leads), c.unwritable, negated(c.silent)), S.FENCED, o.give_key_up,
        "the leader key of a lost lease is given up", hold=False, wake_s=0.2),
    Row(1006, S.FENCED, (remote.is_set, c.leads, c.answers, c.in_recovery), S.STANDBY_LEADER, following.begin,
        "this node holds the leader key of a standby cluster, and PostgreSQL runs as it should", wake_s=0.0),
    Row(1007, S.FENCED, (remote.is_set, c.answers, c.writable, negated(c.silent), negated(c.paused)),
        S.DEMOTING, stopper(Goal.ELSEWHERE), "a running primary is stopped: the cluster follows a remote one",
        wake_s=0.05),
    Row(1008, S.FENCED, (c.leads, c.unwritable, c.overtaken), S.FENCED, o.give_key_up,
        "the leader key is of a time that has passed, since a peer leads or has a later history: it is given up",
        hold=False, wake_s=0.2),
    Row(1010, S.FENCED, (c.led_by_my_past, c.resumable), S.FENCED, o.resume,
        "the leader key is this node's: its lease is gone on with", wake_s=0.0),
    Row(1011, S.FENCED, (c.leads, c.unwritable, negated(c.poll_fresh), negated(c.paused), negated(c.guard_fired),
        negated(c.handing_over), negated(disks.disk_unfit)), S.FENCED, o.ask_peers,
        "this node holds the leader key: before anything is writable, the peers are asked", wake_s=0.0),
    Row(1012, S.FENCED, (c.leads, c.writable, negated(follows_elsewhere)), S.PRIMARY, o.adopt,
        "the running primary is found under its own lease, and goes on", wake_s=0.0),
    Row(1013, S.FENCED, (c.leads, c.watchdog_due, negated(c.writable), negated(c.guard_fired), negated(c.handing_over)),
        S.FENCED, o.open_watchdog,
        "this node holds the leader key: the watchdog device is opened before anything is writable", wake_s=0.0),
    Row(1014, S.FENCED, (c.leads, c.answers, c.in_recovery, negated(c.unwatched), negated(c.paused)),
        S.PROMOTING, o.promote,
        "this node holds the leader key: PostgreSQL is promoted", wake_s=0.02),
    Row(1015, S.FENCED, (c.leads, c.unwritable, c.paused, negated(c.guard_fired), negated(c.handing_over)),
        S.PRIMARY, o.nothing,
        "this node holds the leader key, and PostgreSQL is down or a standby while the cluster is paused"),
    Row(1016, S.FENCED, (c.leads, c.gone, data_is(DataKind.VALID), negated(c.guard_fired), negated(c.handing_over),
        negated(c.unwatched), negated(disks.disk_unfit)), S.PROMOTING, o.start_primary,
        "this node holds the leader key: PostgreSQL is started in place", wake_s=0.05),
    Row(1018, S.FENCED, (c.holds_term, c.unwritable, negated(c.silent)), S.FENCED, o.give_key_up,
        "the leader key is given up", hold=False, wake_s=0.2),
    Row(1020, S.FENCED, (c.answers, c.in_recovery), S.STANDBY, o.settle,
        "a running standby is adopted", wake_s=0.0),
    Row(1021, S.FENCED, (c.answers, c.writable, c.silent, negated(c.guard_met), negated(refused("EnsureGuard"))),
        S.FENCED, o.meet_guard,
        "a primary is running, and the DCS does not answer: its guard is asked for its permit", wake_s=0.0),
    Row(1022, S.FENCED, (c.answers, c.writable, c.silent, c.guard_armed), S.FENCED, o.nothing,
        "a primary is running, the DCS does not answer, and the guard still holds its permit", wake_s=0.2),
    Row(1023, S.FENCED, (c.answers, c.writable, c.paused, c.silent), S.FENCED, o.nothing,
        "a primary is running in a paused cluster, and the DCS does not answer", wake_s=1.0),
    Row(1024, S.FENCED, (c.answers, c.writable, c.paused), S.CANDIDATE, o.nothing,
        "a running primary is found in a paused cluster", wake_s=0.0),
    Row(1026, S.FENCED, (c.answers, c.writable, negated(c.vacancy)), S.DEMOTING, stopper(Goal.LEASE, "immediate"),
        "a running primary without the leader key is stopped", hold=False, wake_s=0.05),
    Row(1028, S.FENCED, (c.answers, c.writable), S.CANDIDATE, o.ask_peers,
        "a running primary is found, and nobody leads: the peers are asked", wake_s=0.0),
    Row(1030, S.FENCED, (c.running,), S.FENCED, o.nothing,
        "PostgreSQL is running but does not answer yet", wake_s=0.2),
    Row(1032, S.FENCED, (c.down, negated(c.gone)), S.FENCED, o.kill_orphans,
        "orphaned processes are ended", wake_s=0.1),
    Row(1033, S.FENCED, (data_is(DataKind.UNKNOWN),), S.FENCED, o.nothing,
        "the disk does not say what lies in the data directory", wake_s=0.5),
    Row(1034, S.FENCED, (data_is(DataKind.ABSENT, DataKind.EMPTY),), S.VACANT, o.nothing,
        "there is no data directory", wake_s=0.0),
    Row(1035, S.FENCED, (data_is(DataKind.UNMOUNTED),), S.FENCED, o.say_data,
        "the file system of the data directory is not mounted: nothing is built in its place", wake_s=1.0),
    Row(1036, S.FENCED, (data_is(DataKind.UNREADABLE),), S.FAILED, o.need_operator,
        "the data directory holds files but no readable control file"),
    Row(1038, S.FENCED, (c.paused,), S.FENCED, o.nothing,
        "PostgreSQL is down, and the cluster is paused"),
    Row(1040, S.FENCED, (c.reinit_asked,), S.VACANT, o.reinit_aside,
        "an operator asked for a new copy: this one is moved aside", wake_s=0.0),
    Row(1041, S.FENCED, (disks.disk_unfit,), S.FENCED, o.say_disk,
        "PostgreSQL is not started: its disk does not take what a start needs", wake_s=1.0),
    Row(1042, S.FENCED, (c.waiting,), S.FENCED, o.nothing,
        "the last try failed: a pause before the next", wake_s=0.5),
    Row(1044, S.FENCED, (unfinished("rewinding"), replaceable), S.VACANT, o.discard_failed_rewind,
        "a rewind was interrupted and can't be taken up again: the copy is moved aside", wake_s=0.0),
    Row(1046, S.FENCED, (unfinished("rewinding"),), S.FENCED, o.nothing,
        "a rewind was interrupted, and there is no primary to clone from instead", wake_s=1.0),
    Row(1048, S.FENCED, (data_is(DataKind.UNFINISHED),), S.VACANT, o.nothing,
        "an unfinished copy is found", wake_s=0.0),
    Row(1050, S.FENCED, (c.silent,), S.STARTING, o.start_standby,
        "the DCS does not answer: PostgreSQL is started read-only", wake_s=0.1),
    Row(1052, S.FENCED, (c.led_by_my_past,), S.FENCED, o.depose_own_past,
        "the leader key of this node's own past is given up", wake_s=0.0),
    Row(1054, S.FENCED, (c.leaderless, negated(c.must_compare)), S.STARTING, o.start_standby,
        "nobody leads: PostgreSQL is started read-only", wake_s=0.1),
    Row(1056, S.FENCED, (job_done("compare"), negated(c.verdict_known)), S.FENCED, o.note_verdict,
        "the histories were compared", wake_s=0.0),
    Row(1057, S.FENCED, (c.diverged, stalls.copy_stopped), S.VACANT, o.discard_diverged,
        "this copy can't become consistent any more: it is moved aside", wake_s=0.0),
    Row(1058, S.FENCED, (c.diverged, may_rewind, negated(tried_enough)), S.REWINDING, o.rewind,
        "this history has parted from the leader's: it is rewound", wake_s=0.5),
    Row(1060, S.FENCED, (c.diverged, may_discard_diverged), S.VACANT, o.discard_diverged,
        "this history has parted from the leader's: the copy is moved aside", wake_s=0.0),
    Row(1062, S.FENCED, (c.diverged,), S.FAILED, o.need_operator,
        "this history has parted from the leader's, and neither pg_rewind nor a new copy is allowed"),
    Row(1064, S.FENCED, (c.verdict_known,), S.STARTING, o.start_standby,
        "this history is part of the leader's: PostgreSQL follows it", wake_s=0.1),
    Row(1066, S.FENCED, (c.was_standby, negated(goal_is(Goal.FOLLOW))), S.STARTING, o.start_standby,
        "it was a standby and is started as one", wake_s=0.1),
    Row(1068, S.FENCED, (job_failed("compare"),), S.FENCED, o.compare_failed,
        "the histories could not be compared", wake_s=0.5),
    Row(1070, S.FENCED, (c.busy,), S.FENCED, o.nothing,
        "the histories are being compared", wake_s=0.5),
    Row(1071, S.FENCED, (c.remote_unasked,), S.STARTING, o.start_standby,
        "the remote primary can't be asked: PostgreSQL is started read-only, and compared later", wake_s=0.1),
    Row(1072, S.FENCED, (leader_ready,), S.FENCED, o.compare,
        "before it follows, its history is compared with the leader's", wake_s=0.2),
    Row(1099, S.FENCED, (), S.FENCED, o.nothing,
        "the leader is not yet a running primary", wake_s=0.2),
    # --- rewinding ---
    Row(1105, S.REWINDING, (c.stopping, c.busy), S.REWINDING, o.end_job,
        "the agent was asked to stop", wake_s=0.2),
    Row(1110, S.REWINDING, (c.busy,), S.REWINDING, o.nothing,
        "pg_rewind is running", wake_s=1.0),
    Row(1115, S.REWINDING, (c.stopping,), S.REWINDING, o.leave,
        "the agent was asked to stop"),
    Row(1120, S.REWINDING, (job_done("rewind"),), S.STARTING, o.start_clone,
        "the history was rewound", wake_s=0.1),
    Row(1128, S.REWINDING, (job_failed("rewind"), c.source_away), S.FENCED, o.rewind_failed,
        "pg_rewind could not reach its source: it is tried again"),
    Row(1130, S.REWINDING, (job_failed("rewind"), tried_enough, may_discard_after_rewind),
        S.VACANT, o.discard_failed_rewind,
        "pg_rewind failed: the copy is moved aside", wake_s=0.0),
    Row(1135, S.REWINDING, (job_failed("rewind"), tried_enough), S.FAILED, o.need_operator,
        "pg_rewind failed, and a new copy is not allowed"),
    Row(1140, S.REWINDING, (job_failed("rewind"),), S.FENCED, o.rewind_failed,
        "pg_rewind failed: it is tried again"),
    Row(1199, S.REWINDING, (), S.FENCED, o.nothing,
        "no rewind is under way", wake_s=0.0),
    # --- failed: an operator is needed ---
    Row(1205, S.FAILED, (c.stopping, c.down), S.FAILED, o.leave,
        "the agent was asked to stop"),
    Row(1210, S.FAILED, (c.stopping,), S.DEMOTING, stopper(Goal.SHUTDOWN),
        "the agent was asked to stop"),
    Row(1220, S.FAILED, (c.foreign_system,), S.FAILED, o.refuse_to_run,
        "the data belongs to another cluster"),
    Row(1230, S.FAILED, (c.reinit_asked, c.down), S.VACANT, o.reinit_aside,
        "an operator asked for a new copy: this one is moved aside", wake_s=0.0),
    Row(1235, S.FAILED, (c.answers, c.writable, negated(c.paused)), S.DEMOTING, stopper(Goal.LEASE, "immediate"),
        "an operator started PostgreSQL writable without the leader key: it is stopped", hold=False, wake_s=0.05),
    Row(1240, S.FAILED, (c.answers, c.in_recovery), S.STANDBY, o.settle,
        "an operator started PostgreSQL", wake_s=0.0),
    Row(1250, S.FAILED, (data_is(DataKind.ABSENT, DataKind.EMPTY),), S.VACANT, o.nothing,
        "an operator removed the data directory", wake_s=0.0),
    Row(1299, S.FAILED, (), S.FAILED, o.say_trouble,
        "an operator is needed"),
    # --- standby leader: the leader key of a standby cluster is held, nothing is writable ---
    Row(1305, S.STANDBY_LEADER, (c.stopping, c.paused), S.STANDBY_LEADER, o.leave_running,
        "the agent was asked to stop"),
    Row(1310, S.STANDBY_LEADER, (c.down,), S.FENCED, o.give_key_up,
        "PostgreSQL has ended: the leader key is given up", hold=False, wake_s=0.0),
    Row(1315, S.STANDBY_LEADER, (c.lease_lost,), S.STANDBY, following.step_down,
        "the lease was lost", hold=False, wake_s=0.2),
    Row(1318, S.STANDBY_LEADER, (c.deposed,), S.STANDBY, following.step_down,
        "the leader key is not this node's any more", hold=False, wake_s=0.2),
    Row(1320, S.STANDBY_LEADER, (c.stopping, negated(c.writable)), S.STANDBY, following.step_down,
        "the agent was asked to stop: the leader key is given up first", hold=False, wake_s=0.0),
    Row(1325, S.STANDBY_LEADER, (disks.data_gone, negated(c.paused)), S.DEMOTING,
        following.stopper(Goal.FOLLOW, "immediate"), "the data directory has vanished from under PostgreSQL",
        wake_s=0.05),
    Row(1330, S.STANDBY_LEADER, (c.writable, negated(c.paused)), S.DEMOTING, stopper(Goal.LEASE, "immediate"),
        "PostgreSQL was promoted by other hands in a standby cluster: it is stopped", hold=False, wake_s=0.05),
    Row(1332, S.STANDBY_LEADER, (c.writable,), S.STANDBY_LEADER, o.nothing,
        "PostgreSQL was promoted by hand in a paused standby cluster"),
    Row(1335, S.STANDBY_LEADER, (reason_to_restart,), S.DEMOTING, following.stopper(Goal.RESTART, "fast", "restart"),
        "an operator asked for a restart: the leader key is given up first", wake_s=0.05),
    Row(1338, S.STANDBY_LEADER, (stalls.short, negated(c.paused)), S.DEMOTING, following.stopper(Goal.RESTART),
        "replay has stopped, because the remote primary has more of what a standby needs: it is restarted",
        wake_s=0.05),
    Row(1340, S.STANDBY_LEADER, (negated(remote.is_set), c.paused), S.STANDBY_LEADER, o.nothing,
        "the cluster is to stand alone: PostgreSQL is promoted when the pause ends"),
    Row(1342, S.STANDBY_LEADER, (negated(remote.is_set), c.answers), S.CANDIDATE, o.nothing,
        "the cluster is to stand alone: this node, which holds the leader key, is to be promoted", wake_s=0.0),
    Row(1345, S.STANDBY_LEADER, (c.silent,), S.STANDBY_LEADER, o.nothing,
        "the DCS does not answer: it follows the remote primary until its lease ends"),
    Row(1350, S.STANDBY_LEADER, (switch_is("ask"),), S.STANDBY_LEADER, o.ask_peers,
        "a change of leader was asked for", wake_s=0.0),
    Row(1352, S.STANDBY_LEADER, (switch_is("refuse"),), S.STANDBY_LEADER, o.refuse_switch,
        "the change of leader is refused", wake_s=0.0),
    Row(1355, S.STANDBY_LEADER, (following.switch_due,), S.STANDBY, following.step_down,
        "a change of leader: the key is given up, nothing has to be stopped", hold=False, wake_s=0.2),
    Row(1360, S.STANDBY_LEADER, (job_done("compare"),), S.STANDBY_LEADER, o.note_verdict,
        "the remote primary was asked why this node does not get any further", wake_s=0.0),
    Row(1362, S.STANDBY_LEADER, (job_failed("compare"),), S.STANDBY_LEADER, o.compare_failed,
        "the remote primary could not be asked"),
    Row(1365, S.STANDBY_LEADER, (c.diverged, negated(c.paused)), S.DEMOTING, following.stopper(Goal.FOLLOW),
        "this node's history has parted from the remote primary's: the leader key is given up first", wake_s=0.05),
    Row(1368, S.STANDBY_LEADER, (c.remote_suspect, negated(c.busy), negated(c.waiting)), S.STANDBY_LEADER, o.compare,
        "it does not stream: its history is compared with the remote primary's"),
    Row(1370, S.STANDBY_LEADER, (stalls.question_due, negated(c.busy), negated(c.waiting)), S.STANDBY_LEADER,
        o.ask_why_stalled, "it neither streams nor gets any further: the remote primary is asked why"),
    Row(1399, S.STANDBY_LEADER, (), S.STANDBY_LEADER, following.lead,
        "it leads a standby cluster"),
)
# fmt: on


def rows_of(state: State) -> tuple[Row, ...]:
    """The rows of one state, in their order."""
    return tuple(row for row in TABLE if row.state is state)
