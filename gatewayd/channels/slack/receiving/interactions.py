"""Presses of buttons, shortcuts and slash commands ("Handling user interaction", "Slash commands"). Pure.

Slack does not repeat them: what is not answered within three seconds, the person has to do again.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct

from gatewayd.channels.slack.receiving.text import one_line
from gatewayd.channels.slack.sending.places import MessageId
from gatewayd.channels.slack.wire.events import Command, Interaction, Message, decode_message, is_direct
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.text import sanitise

_LONGEST_NAME: Final = 255  # of a shortcut ("Shortcuts", callback_id)


class Asked(Struct, frozen=True):
    """What somebody did. ``key`` is the same when Slack sends it again. ``channel`` None: it is not said where. ``press`` begins
    with the user, to whom its answer is shown (sending/signals.py)."""

    kind: Literal["button", "command"]
    key: str
    user: str
    channel: str | None
    text: str
    at: str = ""
    thread: str | None = None
    team: str | None = None
    name: str | None = None
    message_id: str | None = None
    press: str | None = None
    answer_with: str | None = None


Quote = Callable[[Message], str]
"""The text of a message as a quotation."""
Plain = Callable[[str], str]
"""mrkdwn as a person reads it."""


def of_interaction(payload: bytes | Raw, quote: Quote, *, opens_threads: bool) -> Asked | str:
    """What was done; in words, why nothing comes of it. ``opens_threads``: a message of a channel is answered in its thread.

    :raises Malformed: it cannot be read who did what where.
    """
    interaction = decode(payload, Interaction, lenient=True)
    match interaction.type:
        case "block_actions":
            return _press(interaction)
        case "message_action" | "shortcut":
            return _shortcut(interaction, quote, opens_threads)
    return f"an interaction that is not used: {one_line(interaction.type)}"


def _press(interaction: Interaction) -> Asked | str:
    """ "block_actions payload". The message of an ephemeral one is not in it, but its ``container`` is."""
    container, user = interaction.container, interaction.user
    pressed = next((action for action in interaction.actions if action.type == "button"), None)
    if pressed is None or pressed.value is None:
        return "a press of what is no button with a value: a link, a menu"
    channel = interaction.channel.id if interaction.channel is not None else container.channel_id
    message = MessageId.parse(f"{channel}:{container.message_ts or interaction.message_ts}")
    if message is None:
        return "a press outside of a message: in a modal, or on App Home"
    if not pressed.action_ts:
        raise Malformed("a press has no action_ts by which it could be known")
    shown = decode_message(interaction.message) if bytes(interaction.message) else Message()
    thread = container.thread_ts or shown.thread_ts
    return Asked(
        "button",
        f"{message}:{user.id}:{pressed.action_ts}",
        user.id,
        message.channel,
        sanitise(pressed.value),
        pressed.action_ts,
        thread=None if thread == message.ts else thread,
        team=user.team_id,
        name=user.name or user.username,
        message_id=str(message),
        press=f"{user.id}:{pressed.action_ts}",
    )


def _shortcut(interaction: Interaction, quote: Quote, opens_threads: bool) -> Asked:
    """ "Shortcuts": one that is called on a message has the message, and a global one has no place, so it is answered in a direct
    message. Both are commands by the name of their ``callback_id``."""
    user, message = interaction.user, None
    if not interaction.action_ts:
        raise Malformed("a shortcut has no action_ts by which it could be known")
    if interaction.channel is not None and bytes(interaction.message):
        message = decode_message(interaction.message)
    name = "".join(one_line(interaction.callback_id, _LONGEST_NAME).split()) or "shortcut"
    channel = None if message is None or interaction.channel is None else interaction.channel.id
    opens_here = opens_threads and channel is not None and not is_direct(channel)
    return Asked(
        "command",
        f"{channel}:{user.id}:{interaction.action_ts}",
        user.id,
        channel,
        f"/{name}" if message is None else f"/{name}\n{quote(message)}",
        interaction.action_ts,
        thread=None if message is None else message.thread_ts or (message.ts if opens_here else None),
        team=user.team_id,
        name=user.name or user.username,
        answer_with=interaction.response_url,
    )


def of_command(payload: bytes | Raw | Mapping[str, str], plain: Plain) -> Asked:
    """A slash command. Slack offers none in threads.

    :raises Malformed: it cannot be read who asked for what where.
    """
    command = decode(msgspec.json.encode(payload) if isinstance(payload, Mapping) else payload, Command, lenient=True)
    name = "".join(one_line(command.command, _LONGEST_NAME).split())
    return Asked(
        "command",
        f"{command.channel_id}:{command.user_id}:{command.trigger_id}",
        command.user_id,
        command.channel_id,
        f"/{name.removeprefix('/')} {plain(command.text)}".strip(),
        team=command.team_id,
        name=command.user_name,
        answer_with=command.response_url,
    )
