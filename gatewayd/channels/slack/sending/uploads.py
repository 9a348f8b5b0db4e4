"""Which file became of which send. A file has no metadata by which Slack could tell it ("Uploading files"), so it is kept here.

It is kept beyond the receipt: that is committed after the driver has returned, and until then the send may be looked up again.
"""

from typing import Final

import msgspec
from msgspec import Struct

from gatewayd.model.errors import OutcomeUnknown
from gatewayd.ports.channel import ChannelServices

KEPT: Final = 100

_STATE: Final = "files"


class _Upload(Struct, frozen=True):
    key: str
    file_id: str
    at: float


class Uploads:
    """The newest ``KEPT`` of an account, in one value of its state."""

    def __init__(self, services: ChannelServices) -> None:
        self._services = services
        self._uploads: list[_Upload] | None = None

    async def note(self, key: str, file_id: str) -> None:
        """The send of this key is about to show this file. :raises StoreRefused: it is not kept."""
        upload = _Upload(key, file_id, self._services.now())
        await self._keep([*(it for it in await self._load() if it.key != key), upload][-KEPT:])

    async def find(self, key: str, *, since: float) -> str | None:
        """The file of this send. None: Slack was never asked to show one.

        :raises OutcomeUnknown: so many files were sent ``since`` then that it may be forgotten.
        """
        uploads = await self._load()
        found = next((it.file_id for it in uploads if it.key == key), None)
        if found is None and len(uploads) >= KEPT and uploads[0].at >= since:
            raise OutcomeUnknown(f"more than {KEPT} files were sent since then")
        return found

    async def forget(self, key: str) -> None:
        """The file of this send is deleted. :raises StoreRefused:"""
        await self._keep([it for it in await self._load() if it.key != key])

    async def _load(self) -> list[_Upload]:
        if self._uploads is None:
            stored = await self._services.state.load(_STATE)
            if self._uploads is None:
                self._uploads = [] if stored is None else msgspec.json.decode(stored, type=list[_Upload])
        return self._uploads

    async def _keep(self, uploads: list[_Upload]) -> None:
        self._uploads = uploads
        await self._services.state.save(_STATE, msgspec.json.encode(uploads).decode())
