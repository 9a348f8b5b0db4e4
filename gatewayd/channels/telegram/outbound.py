"""Payloads to the parameters of methods. Pure."""

import re

from gatewayd.channels.telegram.html import to_html
from gatewayd.channels.telegram.wire import LinkPreviewOptions, ReplyParameters, SendChatAction, SendMessage
from gatewayd.model.envelope import Peer
from gatewayd.model.payload import SendText

MAX_TEXT_BYTES = 32_768
"""The server refuses a longer text before it looks at the markup in it (Client.cpp, get_formatted_text)."""

_NUMBER = re.compile(r"-?[0-9]{1,18}")


def from_outbound(payload: SendText, *, chat_id: int | str, link_previews: bool, plain: bool = False) -> SendMessage:
    """sendMessage with parse_mode HTML; without markup when there is none, when it would be too long, or when ``plain``."""
    text, parse_mode = payload.body.text, None
    if payload.body.spans and not plain:
        html = to_html(payload.body)
        if len(html.encode("utf-8", "replace")) <= MAX_TEXT_BYTES:
            text, parse_mode = html, "HTML"
    return SendMessage(
        chat_id=chat_id,
        text=text.encode("utf-8", "replace").decode(),  # half a surrogate pair cannot be written as JSON
        parse_mode=parse_mode,
        message_thread_id=thread_of(payload.peer),
        # A reply is a courtesy: when the message is gone, the text must arrive all the same.
        reply_parameters=None if (replied := _number(payload.reply_to)) is None else ReplyParameters(replied),
        link_preview_options=None if link_previews else LinkPreviewOptions(is_disabled=True),
    )


def typing_in(peer: Peer, *, chat_id: int | str) -> SendChatAction | None:
    """sendChatAction, or None where it is not supported: in channels."""
    return None if peer.kind == "channel" else SendChatAction(chat_id, "typing", thread_of(peer))


def chat_id_of(peer: Peer) -> int | str:
    """chat_id: a number, or @username of a public channel or group."""
    number = _number(peer.id)
    return peer.id if number is None else number


def thread_of(peer: Peer) -> int | None:
    return _number(peer.thread)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None
