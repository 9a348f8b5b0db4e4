"""People who asked to talk to an agent, as they are stored and shown."""

from msgspec import Struct

from gatewayd.model.lifecycle import PairingState
from gatewayd.model.message.envelope import Peer


class PairingRow(Struct, frozen=True):
    """A stranger who asked. ``state`` is pending until an operator decides; it is void after ``expires_at``."""

    code: str
    channel: str
    account: str
    sender_id: str
    sender_name: str | None
    peer: Peer
    state: PairingState
    created_at: float
    expires_at: float
    decided_at: float | None = None
    decided_by: str | None = None
