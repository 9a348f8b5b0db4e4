"""Who may talk: strangers who asked, tokens and logins."""

from typing import Literal, Protocol

from msgspec import Struct

from gatewayd.model.lifecycle import PairingDecision, PairingState
from gatewayd.model.records.pairing import PairingRow


class TokenRow(Struct, frozen=True):
    """A bearer token or a webchat login. Only ``digest`` (SHA-256 hex) is stored. ``kind``: token, login_code, web_session."""

    digest: str
    kind: Literal["token", "login_code", "web_session"]
    name: str
    role: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None = None


class Pairings(Protocol):
    async def add_pairing(self, row: PairingRow) -> PairingRow:
        """Insert. Idempotent by the sender (channel, account, sender_id): who has asked already, and whose row is not expired at
        ``row.created_at``, has that one returned. In the same transaction all pending rows that are expired then are deleted.

        :raises Conflict: another sender holds this code, compared without case: draw another one. Nothing is changed.
        """

    async def decide_pairing(self, code: str, state: PairingDecision, *, by: str, now: float) -> PairingRow | None:
        """Put a row with the decision in the place of all rows of the sender who holds this code, compared without case. None,
        and nothing is changed: no pending row has the code, or it expired at ``now`` or before. Of two decisions at once one is
        made."""

    async def list_pairings(self, state: PairingState, *, limit: int) -> list[PairingRow]:
        """In the order in which they were added; of the pending ones only those that are not expired."""

    async def revoke_pairing(self, channel: str, account: str, sender_id: str) -> bool:
        """Delete the sender's approved row. False: there is none."""


class Tokens(Protocol):
    async def put_token(self, row: TokenRow) -> None:
        """Insert, or replace the row with this digest. Idempotent."""

    async def get_token(self, digest: str) -> TokenRow | None: ...

    async def take_token(self, digest: str) -> TokenRow | None:
        """Return and delete: a one-time code. Of two calls at once one gets the row. The caller looks at ``expires_at``."""

    async def exchange_token(self, digest: str, row: TokenRow) -> bool:
        """Put ``row`` in the place of the row with this digest. False, and nothing is changed: that one is gone. Of two calls at
        once one gets True."""

    async def list_tokens(self, kind: str) -> list[TokenRow]:
        """By ``created_at``, then digest; expired ones, too."""

    async def delete_token(self, digest: str) -> None:
        """Idempotent: no error when there is none."""

    async def delete_expired_tokens(self, now: float) -> int:
        """How many were deleted: those whose ``expires_at`` is ``now`` or before."""
