"""Files that go out: their bytes are in a folder of the gateway's own, and each is named by a row of the outbox.

The bytes are durable before the row is committed. A file whose row is gone, or was never committed, is deleted some time later.
"""

import os
import re
import secrets
from collections.abc import AsyncIterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import structlog
from msgspec.structs import replace

from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.outbox.bodies import bodies_of
from gatewayd.hub.outbox.drafts import draft_texts
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.kit.files import FILE_NAME
from gatewayd.model.errors import StoreRefused
from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import RichText, SendFile
from gatewayd.model.subject import of_file
from gatewayd.ports.store import OutboundDraft, OutboundRow, Store

FILE_BYTES: Final = 104_857_600
"""The largest file that is kept."""
SWEEP_EVERY_SECONDS: Final = 3600.0
_NAME_MAX: Final = 200

_log = structlog.get_logger("gatewayd.outbox")


class TooLarge(Exception):
    """The file has more than ``FILE_BYTES``."""


class OutgoingFiles:
    """Keeps files, writes their rows, and deletes files without a row. The folder (``Context.files``) is made when it is needed,
    mode 0700."""

    def __init__(self, context: Context, configured: Configured, outbox: Outbox) -> None:
        self._files = context.files
        self._store: Store = context.store
        self._now = context.now
        self._outbox = outbox
        self._configured = configured

    @property
    def _folder(self) -> Path:
        if self._files is None:
            raise FileNotFoundError("there is no folder for files")
        return self._files

    async def send(
        self,
        channel: str,
        account: str,
        peer: Peer,
        content: AsyncIterable[bytes],
        *,
        name: str,
        mime: str = "application/octet-stream",
        caption: str = "",
        reply_to: str | None = None,
        answer_with: str | None = None,
        turn_id: str | None = None,
    ) -> list[OutboundRow]:
        """Keep a file and commit the row that sends it. ``caption`` is markdown; what does not fit under a file is a text behind
        it. On a channel that does not take the file, the caption and the name are a text.

        :raises KeyError: the channel is not configured. :raises TooLarge: nothing was kept. :raises OSError: the disk is full.
        :raises StoreRefused: nothing was written.
        """
        plugin = self._configured.plugin_for(channel, account, peer)
        about = {"reply_to": reply_to, "answer_with": answer_with}
        kept, size = await self._keep(content)
        if not plugin.files or (plugin.file_bytes is not None and size > plugin.file_bytes):
            await anyio.to_thread.run_sync(self._delete, kept)
            text = f"{caption}\n\n{_in_words(name, size)}".strip()
            return await self._outbox.write(draft_texts(channel, account, peer, text, plugin, turn_id=turn_id, **about))
        bodies = bodies_of(caption, replace(plugin, text_limit=plugin.caption_limit or plugin.text_limit))
        under = bodies[0] if len(bodies) == 1 else RichText("")
        payload = SendFile(peer, kept, shown_name(name), size, mime, under, **about)
        conversation = str(ConversationId(AccountId(channel, account), peer))
        file = OutboundDraft(channel, account, conversation, payload, turn_id, of_file(kept))
        rest = draft_texts(channel, account, peer, caption, plugin, turn_id=turn_id) if len(bodies) > 1 else []
        return await self._outbox.write([file, *rest])

    async def _keep(self, content: AsyncIterable[bytes]) -> tuple[str, int]:
        """The name and the size of the file, when its bytes are durable."""
        name, size = secrets.token_hex(16), 0
        file = await anyio.to_thread.run_sync(self._create, name)
        try:
            async for chunk in content:
                size += len(chunk)
                if size > FILE_BYTES:
                    raise TooLarge(f"more than {FILE_BYTES} bytes")
                await anyio.to_thread.run_sync(_write, file, chunk)
            await anyio.to_thread.run_sync(self._sync, file)
        except BaseException:
            self._delete(name)
            raise
        finally:
            os.close(file)
        return name, size

    def _create(self, name: str) -> int:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        return os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def _sync(self, file: int) -> None:
        os.fsync(file)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _delete(self, name: str) -> None:
        with suppress(OSError):
            (self._folder / name).unlink()

    async def run(self) -> None:
        """Delete what no row names, now and then, until cancelled."""
        while True:
            await anyio.sleep(SWEEP_EVERY_SECONDS)
            try:
                await self.sweep()
            except (OSError, StoreRefused) as error:
                _log.warning("files_not_swept", reason=str(error))

    async def sweep(self) -> None:
        """Delete what no row names. A file that is younger than an hour may get its row yet.

        :raises OSError: :raises StoreRefused: the rest is left for the next time.
        """
        for name in await anyio.to_thread.run_sync(self._older_than, self._now() - SWEEP_EVERY_SECONDS):
            if not await self._store.outbound_by("subject", of_file(name), limit=1):
                await anyio.to_thread.run_sync(self._delete, name)

    def _older_than(self, before: float) -> list[str]:
        try:
            with os.scandir(self._folder) as found:
                files = [entry.name for entry in found if entry.stat(follow_symlinks=False).st_mtime < before]
        except FileNotFoundError:
            return []
        return [name for name in files if FILE_NAME.fullmatch(name)]


def _write(file: int, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        left = left[os.write(file, left) :]


def shown_name(name: str) -> str:
    """One line, without a path. It may come from an agent, and apps of the user make a file of it."""
    words = " ".join(re.split(r"[\\/]", name)[-1].split())
    return "".join(sign if sign.isprintable() else "_" for sign in words)[-_NAME_MAX:].lstrip(". ") or "file"


def _in_words(name: str, size: int) -> str:
    quoted = shown_name(name).replace("`", "'")
    return f"(The file `{quoted}`, {_size(size)}, cannot be sent here.)"


def _size(size: int) -> str:
    for unit, of in (("MB", 1_000_000), ("kB", 1000)):
        if size >= of:
            return f"{size / of:.1f} {unit}"
    return f"{size} bytes"
