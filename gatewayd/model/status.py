"""Truth about the running daemon, as structs: the same numbers feed status, readiness and gatewayctl.

Every ``*_at`` and ``since`` is Unix seconds, every ``*_s`` a duration in seconds.
"""

from typing import Literal

from msgspec import Struct

from gatewayd.model.records.dead_letter import DeadLetterCounts

AccountState = Literal["starting", "connected", "waiting", "parked", "stopped", "disabled"]
AgentState = Literal["opening", "open", "waiting", "parked"]
DaemonState = Literal["starting", "ready", "draining"]
ProblemCode = Literal[
    "starting",
    "draining",
    "store_unwritable",
    "account_down",
    "agent_down",
    "agent_away",
    "agent_failing",
    "agent_task_abandoned",
    "inbox_full",
    "account_full",
    "no_descriptors",
    "outbox_old",
    "dead_letters",
    "unknown_sends",
    "loop_stalled",
    "config_refused",
]


class AccountStatus(Struct, frozen=True):
    """One account. ``connected`` is said by the transport, never assumed; ``last_transport_at`` counts inbound bytes only.

    ``next_attempt_at``: it is tried again then, also when it is parked, if it may be mended elsewhere than in the configuration.
    ``since`` is when ``state`` was entered, ``down_since`` from when on it should be connected and is not. ``inbox_waiting`` of
    its messages wait for a turn; ``inbox_full_since`` is from when on that is all it may have (``limits.account_backlog``).
    ``open_groups`` are the groups in which whoever is there may talk, "*" for any. ``sends_held_*``: it was too fast for its
    platform, and all its sends wait, at least until then.
    """

    channel: str
    account: str
    state: AccountState
    since: float
    reason: str | None = None
    identity: str | None = None
    attempt: int = 0
    next_attempt_at: float | None = None
    restarts: int = 0
    last_inbound_at: float | None = None
    last_outbound_at: float | None = None
    last_transport_at: float | None = None
    mailbox_depth: int = 0
    outbox_depth: int = 0
    oldest_pending_at: float | None = None
    down_since: float | None = None
    inbox_waiting: int = 0
    inbox_full_since: float | None = None
    open_groups: tuple[str, ...] = ()
    sends_held_since: float | None = None
    sends_held_until: float | None = None
    sends_held_reason: str | None = None


class InboxStatus(Struct, frozen=True):
    """Messages that are journaled and in no turn yet: ``waiting`` of at most ``limit``, in all accounts. ``full_since`` is from
    when on that is reached; ``limited_senders`` have as much waiting as one sender may (``limits.sender_backlog``)."""

    waiting: int = 0
    limit: int = 0
    oldest_at: float | None = None
    full_since: float | None = None
    limited_senders: int = 0


class LaneStatus(Struct, frozen=True):
    """``live`` lanes exist in memory, ``running`` have a turn under way; ``waiting`` counts messages not yet in a turn."""

    live: int = 0
    running: int = 0
    waiting: int = 0


class OutboxStatus(Struct, frozen=True):
    """Rows by state. ``unknown`` may or may not have been seen by the user and wait for a person."""

    ready: int = 0
    sending: int = 0
    unknown: int = 0
    parked: int = 0
    dead: int = 0


class AgentStatus(Struct, frozen=True):
    """One agent. ``state`` is that of its core; ``reason`` says why it is not open, ``next_attempt_at`` when it is tried again.
    ``down_since`` is from when on it is not open, ``failed_in_a_row`` how many of its newest turns failed in a
    row, the first of them at ``failing_since``. ``away_since``: its core is open, and what it talks to has not answered since."""

    agent: str
    core: str
    state: AgentState = "opening"
    reason: str | None = None
    since: float = 0.0
    running: int = 0
    turns: int = 0
    failures: int = 0
    last_error: str | None = None
    last_error_at: float | None = None
    version: str | None = None
    pid: int | None = None
    sessions: int | None = None
    url: str | None = None
    down_since: float | None = None
    restarts: int = 0
    failed_in_a_row: int = 0
    next_attempt_at: float | None = None
    failing_since: float | None = None
    away_since: float | None = None
    away_reason: str | None = None


class AbandonedTask(Struct, frozen=True):
    """``count`` calls of an agent were cancelled and still run, the oldest since ``since``. ``where``: the positions in the
    code at which the oldest of them stand now, FILE:LINE in FUNCTION, each once."""

    agent: str
    count: int
    since: float
    where: tuple[str, ...]


class Stall(Struct, frozen=True):
    """The event loop did nothing else for ``seconds``; ``where`` is the frame that blocked it."""

    began_at: float
    seconds: float
    where: str


class StallStatistics(Struct, frozen=True):
    """Since the start: ``stalls`` that are over, the ``longest`` of them in seconds, and ``pauses`` of the whole process."""

    stalls: int = 0
    longest: float = 0.0
    pauses: int = 0


class Problem(Struct, frozen=True):
    """Something that is wrong now: what (``code``, machine-readable), where (``subject``: an account as CHANNEL/NAME, an agent,
    or empty for the whole daemon), since when, and one sentence for a person.

    ``failing`` makes the daemon not ready; a ``warning`` wants somebody to look, while messages go through.
    """

    code: ProblemCode
    level: Literal["failing", "warning"]
    subject: str
    since: float
    text: str


class Snapshot(Struct, frozen=True):
    """The whole daemon. ``ready`` is that none of ``problems`` is failing."""

    version: str
    pid: int
    state: DaemonState
    started_at: float
    uptime_s: float
    ready: bool
    problems: tuple[Problem, ...]
    accounts: tuple[AccountStatus, ...]
    lanes: LaneStatus
    outbox: OutboxStatus
    approvals_pending: int
    pairings_pending: int
    agents: tuple[AgentStatus, ...]
    counters: dict[str, int]
    inbox: InboxStatus = InboxStatus()
    dead_letters: DeadLetterCounts = DeadLetterCounts()
    abandoned_tasks: tuple[AbandonedTask, ...] = ()
