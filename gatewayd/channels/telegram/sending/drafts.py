"""A reply that grows in a private chat while it is written: sendMessageDraft, a preview of 30 seconds that is never stored."""

from zlib import crc32

import anyio

from gatewayd.channels.telegram.api import BotApi
from gatewayd.channels.telegram.errors import ApiError
from gatewayd.channels.telegram.sending.outbound import chat_id_of, draft_in
from gatewayd.model.errors import GatewayError, TryAgain
from gatewayd.model.message.payload import Draft
from gatewayd.ports.channel import ChannelServices

EVERY_SECONDS = 1.0
"""Between two of one chat: Telegram's general limit of messages to a chat (Bots FAQ, "My bot is hitting limits")."""
_REQUEST_SECONDS = 3.0
_REST_SECONDS = 30.0
_MOST_CHATS = 1000


class Drafts:
    """Best effort: what cannot be shown is not shown, and what Telegram does not take is not tried again."""

    def __init__(self, api: BotApi, services: ChannelServices) -> None:
        self._api = api
        self._services = services
        self._next_at: dict[int, float] = {}
        self._works = True

    async def show(self, draft: Draft) -> None:
        """Waits its turn, so that a caller who shows the newest text each time shows no more than Telegram takes."""
        chat_id = chat_id_of(draft.peer)
        # A private chat has its user's id, and only there drafts are shown (Bot API, sendMessageDraft: chat_id).
        if not self._works or draft.peer.kind != "dm" or not isinstance(chat_id, int):
            return
        params = draft_in(draft, chat_id=chat_id, draft_id=(crc32(draft.turn_id.encode()) & 0x7FFF_FFFF) or 1)
        if params is None:
            return
        due = self._next_at.get(chat_id, -1.0)
        if due > anyio.current_time() + EVERY_SECONDS:
            return
        await anyio.sleep_until(due)
        self._note(chat_id, EVERY_SECONDS)
        try:
            await self._api.call("sendMessageDraft", params, timeout_seconds=_REQUEST_SECONDS)
        except ApiError as refused:
            # An older Bot API server does not know the method; to this one user, or for now, is another matter.
            self._works = refused.code != 404
            self._note(chat_id, max(refused.retry_after_seconds or 0.0, _REST_SECONDS))
            self._services.log.info("telegram_draft_rejected", reason=refused.description)
        except TryAgain as error:
            self._note(chat_id, max(error.after_seconds or 0.0, EVERY_SECONDS))
        except GatewayError:
            self._note(chat_id, _REST_SECONDS)

    def _note(self, chat_id: int, seconds: float) -> None:
        if len(self._next_at) >= _MOST_CHATS:
            now = anyio.current_time()
            self._next_at = {chat: at for chat, at in self._next_at.items() if at > now}
        self._next_at[chat_id] = anyio.current_time() + seconds
