"""The session map, the accounts of each gateway, the state that accounts and agents keep, and statistics of the store."""

from collections.abc import Collection
from typing import Protocol

from msgspec import Struct

from gatewayd.model.histogram import Histogram
from gatewayd.model.ids import ConversationId
from gatewayd.ports.store.messages import Account


class SessionRow(Struct, frozen=True):
    """The session of a session key. ``session_id`` is the id that the agent core gave; ``core`` is the kind of that core (None:
    an older release stored the row). ``generation`` grows with every new session. ``left_over`` is a turn that has ended for
    gatewayd and may still run at its agent. ``made_by`` is the number of the ``/new`` message that began the session.
    ``conversation`` is where its last turn answered."""

    session_key: str
    agent_id: str
    session_id: str
    generation: int
    created_at: float
    last_used_at: float
    core: str | None = None
    left_over: str | None = None
    made_by: int | None = None
    conversation: ConversationId | None = None


class Sessions(Protocol):
    async def get_session(self, session_key: str) -> SessionRow | None: ...

    async def put_session(self, row: SessionRow) -> None:
        """Insert, or replace the row with this session key. Idempotent."""

    async def find_session(self, agent_id: str, session_id: str) -> tuple[SessionRow, str | None] | None:
        """The row that has this session now, and the newest turn of its session key among the stored messages (None: there is no
        turn). None instead of both: the session was replaced, or does not exist."""


class Accounts(Protocol):
    async def claim_accounts(self, gateway: str, accounts: Collection[Account]) -> list[Account]:
        """Assign these accounts to this gateway, also if another gateway has them. Idempotent. Returns all accounts of this
        gateway, also those of earlier calls that no other gateway has claimed since, by channel and name."""


class State(Protocol):
    """The state of one owner: a small durable key-value store of an account (poll offset, webhook secret) or of an agent.

    Every write returns after the commit. :raises StoreRefused: disk full or damaged; nothing was written.
    """

    async def load(self, key: str) -> str | None: ...

    async def save(self, key: str, value: str) -> None:
        """:raises UnusableId: the key is longer than 2,048 bytes or has a NUL character, or the value is no Unicode."""

    async def forget(self, key: str) -> None:
        """Delete; no error when there is none."""


class StateRows(Protocol):
    """The state of all owners, by channel, account and key."""

    async def load_state(self, channel: str, account: str, key: str) -> str | None: ...

    async def save_state(self, channel: str, account: str, key: str, value: str) -> None:
        """Insert, or replace the value. Idempotent."""

    async def forget_state(self, channel: str, account: str, key: str) -> None:
        """Delete. Idempotent: no error when there is none."""


class StoreStatistics(Struct, frozen=True):
    """Counts of the writer since the start of the process.

    ``queue_depth`` is the number of writes that are not committed yet, ``operations`` the number of committed write calls, and
    ``rows`` the number of rows that they changed. ``healthy`` is False from a commit that failed (disk full, I/O error) to the
    next one that changes a row. ``last_error`` is the reason in words. ``last_error_at`` and ``failing_since`` (the first failure
    since the last commit that changed a row) are Unix seconds. ``checked_whole``: the check at start has read the whole file, not
    only its head. ``commit_seconds`` are the durations of all commits; ``committing_since`` is the begin of the running commit,
    Unix seconds.
    """

    queue_depth: int
    commits: int
    operations: int
    rows: int
    last_commit_seconds: float
    healthy: bool
    last_error: str | None
    last_error_at: float | None
    checked_whole: bool
    failing_since: float | None = None
    commit_seconds: Histogram = Histogram()
    committing_since: float | None = None
