"""The state of the running daemon, as structs. Status, readiness, metrics and gatewayctl show the same numbers.

Every ``*_at`` and ``since`` is Unix seconds, every ``*_s`` a duration in seconds.
"""

from typing import Literal

from msgspec import Struct

from gatewayd.model.records.dead_letter import DeadLetterCounts

AccountState = Literal["starting", "connected", "interrupted", "waiting", "parked", "stopped", "disabled"]
AgentState = Literal["opening", "open", "waiting", "parked"]
DaemonState = Literal["starting", "ready", "draining"]
ProblemCode = Literal[
    "starting",
    "draining",
    "store_unwritable",
    "account_down",
    "account_degraded",
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


class Lack(Struct, frozen=True):
    """A part of a connected account that does not work since then, for example one shard or one channel."""

    what: str
    reason: str
    since: float


class AccountStatus(Struct, frozen=True):
    """One account. ``connected`` is said by the transport, never assumed; ``last_transport_at`` counts inbound bytes only.

    ``next_attempt_at`` is the time of the next attempt; a parked account has one if the cause may end without a new
    configuration. ``since`` is the start of ``state``; since ``down_since`` it should be connected and is not. ``inbox_waiting``
    messages wait for a turn, and since ``inbox_full_since`` that is the limit (``limits.account_backlog``). ``open_groups`` are
    groups in which every member may talk, "*" for all groups. ``sends_held_*``: it was too fast for its platform, and all its
    sends wait. ``interrupted``: its driver connects again by itself, without a new life. ``lacks`` is what does not work
    although it is connected: then it is degraded.
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
    lacks: tuple[Lack, ...] = ()


class InboxStatus(Struct, frozen=True):
    """The backlog: ``waiting`` of at most ``limit`` messages of all accounts are in no turn yet. ``full_since`` is when the limit
    was reached. ``limited_senders`` is the number of senders at their own limit (``limits.sender_backlog``)."""

    waiting: int = 0
    limit: int = 0
    oldest_at: float | None = None
    full_since: float | None = None
    limited_senders: int = 0


class LaneStatus(Struct, frozen=True):
    """``live`` lanes are in memory, ``running`` of them have a running turn; ``waiting`` messages are in no turn yet."""

    live: int = 0
    running: int = 0
    waiting: int = 0


class OutboxStatus(Struct, frozen=True):
    """The number of rows in each state. The user may or may not have seen ``unknown`` ones; they wait for an operator."""

    ready: int = 0
    sending: int = 0
    unknown: int = 0
    parked: int = 0
    dead: int = 0


class AgentStatus(Struct, frozen=True):
    """One agent. ``state`` is the state of its core. If that is not open, ``reason`` says why, ``down_since`` since when, and
    ``next_attempt_at`` when it is opened again. Its newest ``failed_in_a_row`` turns failed, the first at ``failing_since``.
    Since ``away_since`` the core is open, and its server does not answer."""

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
    """``count`` calls of an agent were cancelled and still run, the oldest since ``since``. ``where`` are the present positions
    of the oldest calls in the code, FILE:LINE in FUNCTION, each once."""

    agent: str
    count: int
    since: float
    where: tuple[str, ...]


class Stall(Struct, frozen=True):
    """The event loop was blocked for ``seconds``; ``where`` is the frame that blocked it."""

    began_at: float
    seconds: float
    where: str


class StallStatistics(Struct, frozen=True):
    """Counts since the start: ``stalls`` that ended, the ``longest`` of them in seconds, and ``pauses`` of the whole process."""

    stalls: int = 0
    longest: float = 0.0
    pauses: int = 0


class Problem(Struct, frozen=True):
    """A health check that fails now. ``code`` names the check. ``subject`` is an account as CHANNEL/NAME, an agent, or empty for
    the whole daemon. ``text`` is one sentence for a person.

    A ``failing`` problem makes the daemon not ready. With a ``warning`` messages go through, and an operator should look.
    """

    code: ProblemCode
    level: Literal["failing", "warning"]
    subject: str
    since: float
    text: str


class Snapshot(Struct, frozen=True):
    """The whole daemon. It is ``ready`` if none of ``problems`` is failing."""

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
