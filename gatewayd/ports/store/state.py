"""The session map, the accounts of each gateway, the state that accounts and agents keep, and statistics of the store."""

from collections.abc import Collection
from typing import Protocol

from msgspec import Struct

from gatewayd.model.histogram import Histogram
from gatewayd.model.ids import ConversationId
from gatewayd.ports.store.messages import Account


class SessionRow(Struct, frozen=True):
    """``session_id`` is the agent core's own id, ``core`` the kind of that core, None where an older release did not note it;
    ``generation`` grows with every new session. ``left_over`` is a turn that has ended for us and may still run at its agent;
    ``made_by`` the ``/new`` that began it, the number of its message; ``conversation`` is where its last turn answered."""

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
        """The row whose session is this one now, and the turn of the newest message under its key that has one and is still kept.
        None: it was replaced, or there never was one."""


class Accounts(Protocol):
    async def claim_accounts(self, gateway: str, accounts: Collection[Account]) -> list[Account]:
        """Note that these accounts are this gateway's from now on, whoever had them before. Idempotent. Returns all that are its
        own: those that it has ever had and no other one has claimed since, by channel and name."""


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
    """The store's writer since the start.

    ``queue_depth`` counts writes not yet committed, ``operations`` the write calls that were committed, ``rows`` the rows
    they changed. ``healthy`` is False from a commit that failed (disk full, I/O error) to the next one that succeeds;
    ``last_error`` keeps the reason in words, ``last_error_at`` and ``failing_since`` (the first failure since the last commit
    that succeeded) are Unix seconds. ``checked_whole``: the check at start read the whole file, not only its head.
    ``commit_seconds`` are the durations of all commits; ``committing_since`` is when the one under way began, Unix seconds.
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
