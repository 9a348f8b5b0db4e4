"""Pairings, tokens and logins: the people and programs that may talk to gatewayd."""

from typing import Literal, Protocol

from msgspec import Struct

from gatewayd.model.lifecycle import PairingDecision, PairingState
from gatewayd.model.records.pairing import PairingRow


class TokenRow(Struct, frozen=True):
    """A bearer token, or a login of a channel's people. Only ``digest`` (SHA-256 hex) is stored."""

    digest: str
    kind: Literal["token", "login_code", "web_session"]
    name: str
    role: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None = None


class Pairings(Protocol):
    async def add_pairing(self, row: PairingRow) -> PairingRow:
        """Insert. Idempotent by the sender (channel, account, sender_id): a pending row of the sender that is not expired at
        ``row.created_at`` is returned instead. In the same transaction all pending rows that are expired at that time are
        deleted.

        :raises Conflict: another sender has this code, compared without case. Nothing is changed; the caller draws another code.
        """

    async def decide_pairing(self, code: str, state: PairingDecision, *, by: str, now: float) -> PairingRow | None:
        """Replace all rows of the sender of this code, compared without case, by one row with the decision. None, and nothing is
        changed: no pending row has the code, or the row expired at ``now`` or before. Of two decisions at once one is made."""

    async def list_pairings(self, state: PairingState, *, limit: int) -> list[PairingRow]:
        """Oldest first; of pending rows only those that are not expired."""

    async def revoke_pairing(self, channel: str, account: str, sender_id: str) -> bool:
        """Delete the sender's approved row. False: there is none."""


class Tokens(Protocol):
    async def put_token(self, row: TokenRow) -> None:
        """Insert, or replace the row with this digest. Idempotent."""

    async def get_token(self, digest: str) -> TokenRow | None: ...

    async def take_token(self, digest: str) -> TokenRow | None:
        """Return and delete a one-time code. Of two calls at once one gets the row. The caller checks ``expires_at``."""

    async def exchange_token(self, digest: str, row: TokenRow) -> bool:
        """Replace the row with this digest by ``row``. False, and nothing is changed: there is no row with this digest. Of two
        calls at once one gets True."""

    async def list_tokens(self, kind: str) -> list[TokenRow]:
        """By ``created_at``, then digest; expired rows, too."""

    async def delete_token(self, digest: str) -> None:
        """Idempotent: no error when there is none."""

    async def delete_expired_tokens(self, now: float) -> int:
        """Delete the rows whose ``expires_at`` is ``now`` or before, and return their number."""
