"""Questions as chats show them, and the answers in messages and button presses. Pure."""

from collections.abc import Collection, Sequence
from typing import assert_never

from msgspec.structs import replace

from gatewayd.hub.approvals.shown import ANEW
from gatewayd.hub.outbox.drafts import draft_texts
from gatewayd.kit.text.visible import visible
from gatewayd.model.config import AccountFrame
from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.message.edits import merge_edits
from gatewayd.model.message.envelope import InboundEnvelope, Writer
from gatewayd.model.message.payload import Choice, EditText, OutboundPayload
from gatewayd.model.message.roles import role_of
from gatewayd.model.records.question import Option, Question, QuestionRow
from gatewayd.model.subject import anew
from gatewayd.ports.channel import ChannelPlugin
from gatewayd.ports.store import InboundRow, OutboundDraft, OutboundRow

_LABEL_MAX = 60
SKIP = "/skip"


def fits(row: QuestionRow, envelope: InboundEnvelope) -> bool:
    """Whether an envelope of the right conversation can be the answer."""
    if envelope.kind == "button":
        return envelope.text.startswith(f"qu:{row.id}:")
    return envelope.is_message and bool(envelope.text.strip())


def as_it_reads(rows: Sequence[InboundRow]) -> InboundEnvelope:
    """A message with its edits applied. The edits come after it."""
    return merge_edits([row.envelope for row in rows])[0]


def may_answer(envelope: InboundEnvelope, frame: AccountFrame, writers: Collection[Writer], shown_as: Collection[str]) -> bool:
    """Whether this person may answer, with this message, a question to ``writers`` that the messages ``shown_as`` show.

    In a group the writers may answer, and the members who may act for others. Of those only a button press or a reply to the
    question is an answer. A message from a connector is no answer if the question is about messages from elsewhere.
    """
    if envelope.via is not None and all(writer.via != envelope.via for writer in writers):
        return False
    role = role_of(envelope, frame, writers)
    return role in ("own_chat", "writer") or (role != "member" and (envelope.kind == "button" or envelope.reply_to in shown_as))


def answers_of(row: QuestionRow, envelope: InboundEnvelope) -> tuple[str, ...] | None:
    """The answers in a message or button press: offered labels, or the text itself. None: it dismisses the question, as a
    message of commas does."""
    options = row.question.options
    if envelope.kind == "button":
        index = envelope.text.rpartition(":")[2]
        return (options[int(index)].label,) if index.isdecimal() and int(index) < len(options) else None
    text = envelope.text.strip()
    words = [word.strip() for word in text.split(",")] if row.question.multiple else [text]
    return tuple(_label(word, options) for word in words if word) or None


def _label(word: str, options: tuple[Option, ...]) -> str:
    """The option with this number or label, ignoring case; else the word itself, as free text."""
    if word.isdecimal() and len(word) < 4 and 1 <= int(word) <= len(options):
        return options[int(word) - 1].label
    return next((option.label for option in options if option.label.casefold() == word.casefold()), word)


def with_choices(payload: OutboundPayload, row: QuestionRow) -> OutboundPayload:
    options = () if row.question.multiple else row.question.options
    rows = [(Choice(_button(option, number), f"qu:{row.id}:{number}"),) for number, option in enumerate(options)]
    rows.append((Choice("Skip", f"qu:{row.id}:skip"),))
    return replace(payload, choices=tuple(rows), instead="Answer with your next message.")


def _button(option: Option, number: int) -> str:
    """The text of a button. Platforms refuse a button without one."""
    label = visible(" ".join(option.label.split()))
    return label[:_LABEL_MAX] or str(number + 1)


def text_of(question: Question) -> str:
    lines = [visible(question.text)]
    for number, option in enumerate(question.options, 1):
        about = f" \N{EN DASH} {visible(option.description)}" if option.description else ""
        lines.append(f"{number}. {visible(option.label)}{about}")
    how = "numbers or words, with commas between them" if question.multiple else "a number, or in your own words"
    hint = f"_Answer with {how}_" if question.options else "_Answer with your next message_"
    return "\n".join(lines) + f"\n\n{hint}, or `{SKIP}`."


def prompt(row: QuestionRow, chat: ConversationId, plugin: ChannelPlugin) -> list[OutboundDraft]:
    """The question in a chat. The last of the rows has its buttons, and its id as the subject."""
    own, peer = chat.account, chat.peer
    *before, last = draft_texts(own.channel, own.name, peer, text_of(row.question), plugin, turn_id=row.turn_id)
    payload = with_choices(last.payload, row) if plugin.buttons else last.payload
    return [*before, replace(last, payload=payload, subject=row.id)]


def rewritten(row: QuestionRow, shown: OutboundRow, plugin: ChannelPlugin) -> OutboundDraft:
    """The edit of a prompt that shows how the question has ended."""
    return OutboundDraft(
        shown.channel, shown.account, shown.conversation, _edit(row, shown, plugin, _outcome(row)), row.turn_id, row.id
    )


def shown_anew(row: QuestionRow, shown: OutboundRow, plugin: ChannelPlugin) -> list[OutboundDraft]:
    """The question once more, and an edit of the prompt before, which says so and keeps its buttons."""
    drafts = prompt(row, ConversationId(AccountId(shown.channel, shown.account), shown.payload.peer), plugin)
    # A row of unknown outcome has no message id for an edit.
    if plugin.edits and shown.state != "unknown":
        edit = with_choices(_edit(row, shown, plugin, ANEW), row)
        drafts.append(OutboundDraft(shown.channel, shown.account, shown.conversation, edit, row.turn_id, anew(row.id)))
    return drafts


def _edit(row: QuestionRow, shown: OutboundRow, plugin: ChannelPlugin, note: str) -> EditText:
    text = f"{visible(row.question.text)[:1000]}\n\n{note}"
    [first, *_] = draft_texts(shown.channel, shown.account, shown.payload.peer, text, plugin)
    return EditText(shown.payload.peer, first.payload.body, of=shown.id)


def _outcome(row: QuestionRow) -> str:
    match row.state:
        case "answered":
            return f"**Answer**: {_words(row.answers)}"
        case "dismissed":
            return "**Skipped.**"
        case "expired":
            return "**Nobody answered in time.**"
        case "withdrawn" | "pending":
            return "**Not asked any more.**"
        case never:
            assert_never(never)


def _words(answers: tuple[str, ...]) -> str:
    return visible(", ".join(answers))[:500]
