"""The stored state of one account or agent: small values by key."""

from gatewayd.model.records.storable import refuse_unusable_state
from gatewayd.ports.store import StateRows

OF_AGENTS = "@agents"
"""In the place of a channel's name for the state of agents. No channel can have this name."""


class OwnState:
    """``gatewayd.ports.store.State``, over the rows of the store."""

    def __init__(self, rows: StateRows, channel: str, account: str) -> None:
        self._rows = rows
        self._channel = channel
        self._account = account

    async def load(self, key: str) -> str | None:
        return await self._rows.load_state(self._channel, self._account, key)

    async def save(self, key: str, value: str) -> None:
        refuse_unusable_state(key, value)
        await self._rows.save_state(self._channel, self._account, key, value)

    async def forget(self, key: str) -> None:
        await self._rows.forget_state(self._channel, self._account, key)
