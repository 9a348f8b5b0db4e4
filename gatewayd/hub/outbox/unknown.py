"""Replies of unknown outcome: their chat gets one notice, and shows the text again on request."""

import re
from collections.abc import Sequence
from typing import Final, assert_never

from msgspec.structs import replace

from gatewayd.hub.codes import ALPHABET, new_code
from gatewayd.hub.configured import Configured
from gatewayd.hub.outbox.bodies import bodies_of
from gatewayd.hub.outbox.drafts import draft_replies
from gatewayd.hub.outbox.whole import whole_texts
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.payload import EditText, OutboundPayload, SendFile, SendText
from gatewayd.model.subject import about_reply, again, is_about_reply
from gatewayd.ports.store import OutboundDraft, OutboundRow, Store

_TOLD: Final = "The reply before this may not have arrived: it was cut off while it was sent. `/show {code}` shows it again."
_AGAIN: Final = "Once more, as asked for. You may have seen this before:"
_GONE: Final = "That reply is not kept any more."
_LENGTH: Final = 7
_CODE: Final = re.compile(f"R[{ALPHABET}]{{{_LENGTH}}}")
"""Longer than the code of a request (hub/approvals/desk.py). It shows only text that its own chat was to see anyway."""


class UnknownReplies:
    """``notice`` is a rule for the outbox, ``show`` is for the command ``/show``."""

    def __init__(self, store: Store, configured: Configured) -> None:
        self._store = store
        self._configured = configured

    def notice(self, row: OutboundRow, of_turn: Sequence[OutboundRow]) -> OutboundDraft | None:
        """The notice for the chat of a row that has become unknown, one for each turn: the store's ``NoticeRule``.

        None: the row is no part of a reply, its account's ``on_unknown`` does not want a notice, or the turn has one already.
        """
        if any(each.subject is not None and is_about_reply(each.subject) for each in of_turn):
            return None
        is_reply = row.turn_id is not None and row.subject is None and _is_said_once(row.payload)
        account = self._configured.accounts.get((row.channel, row.account))
        if not is_reply or account is None or account.frame.on_unknown != "tell":
            return None
        code = "R" + new_code(_LENGTH)
        plugin = self._configured.plugin_for(row.channel, row.account, row.payload.peer)
        body = bodies_of(_TOLD.format(code=code), plugin)[0]
        return OutboundDraft(
            channel=row.channel,
            account=row.account,
            conversation=row.conversation,
            payload=SendText(row.payload.peer, body),
            turn_id=row.turn_id,
            subject=about_reply(code),
        )

    async def show(self, envelope: InboundEnvelope, code: str) -> list[OutboundDraft] | None:
        """The rows that show a reply again, in its own chat. None: this chat has no reply with this code."""
        if _CODE.fullmatch(code.upper()) is None:
            return None
        code = code.upper()
        notice = next(iter(await self._store.outbound_by("subject", about_reply(code))), None)
        here = str(envelope.conversation)
        if notice is None or notice.turn_id is None or notice.conversation != here:
            return None
        rows = await self._store.outbound_by("turn_id", notice.turn_id)
        parts = whole_texts([row for row in rows if row.subject is None and row.conversation == here])
        said = _AGAIN if parts else _GONE
        plugin = self._configured.plugin_for(envelope.channel, envelope.account, envelope.peer)
        mark = replace(draft_replies(envelope, said, plugin, turn_id=notice.turn_id)[0], subject=again(code))
        return [mark, *(replace(mark, payload=_alone(part)) for part in parts)]


def _is_said_once(payload: OutboundPayload) -> bool:
    """Whether a text is lost if this is. The beginning of a growing reply comes again with its end."""
    match payload:
        case SendText(grows=grows):
            return not grows
        case EditText(or_send=or_send):
            return or_send
        case SendFile():
            return False  # it has a subject
        case never:
            assert_never(never)


def _alone(part: SendText) -> SendText:
    """Without what it answered and without buttons, because these are out of date."""
    return replace(part, reply_to=None, answer_with=None, choices=())
