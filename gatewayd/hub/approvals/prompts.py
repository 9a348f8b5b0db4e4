"""Approval prompts: requests as chats show them. Approvers get a prompt with buttons, the chat of the message gets a notice.

A prompt is an outbox row whose subject is the id of the approval. The subject of a notice is ``<id>/notice``. By these subjects
the gateway knows after a restart what is shown where, and writes the outcome of a request over its prompts once.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import anyio
import msgspec

from gatewayd.hub.approvals.shown import ANEW, is_due, prompts_of, why_lost
from gatewayd.hub.configured import Configured
from gatewayd.hub.outbox.bodies import bodies_of
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.kit.text.visible import visible
from gatewayd.model.config import OPERATORS, ApproverGroup, GatewayConfig
from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.lifecycle import NEVER_SEEN, Outcome
from gatewayd.model.message.envelope import Peer, PeerKind
from gatewayd.model.message.payload import Choice, EditText, OutboundPayload, RichText, SendText
from gatewayd.model.records.approval import Approval
from gatewayd.model.subject import anew
from gatewayd.ports.agent import TurnRequest
from gatewayd.ports.channel import ChannelPlugin
from gatewayd.ports.store import Account, OutboundDraft, OutboundRow, Store

ORIGIN = "origin"
_SHOWN_CHARACTERS = (1500, 700, 300, 100, 0)
_WHOLE_CHARACTERS = 20_000
_FORMATTED_MAX = 4
_NAME_MAX = 200
# What is markup within a line (docs/reference/markdown.md).
_MARKER = re.compile(r"[*_~`]|<(?=[^\s<>]*>)")
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^()]*)\)")
_LINK_START = re.compile(r"\]\(")
_OUTCOMES: Final[Mapping[Outcome, str]] = {
    "allowed": "**Allowed**",
    "denied": "**Denied**",
    "expired": "**Expired**: nobody answered in time; it was not run.",
    "withdrawn": "**Withdrawn**: it is not wanted any more; it was not run.",
    "undeliverable": "**Not shown**: nobody could be asked; it was not run.",
}


class ApprovalPrompts:
    """Writes prompts and edits them. ``unreachable`` says why an account cannot send now, or None."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        configured: Configured,
        *,
        unreachable: Callable[[str, str], str | None],
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._configured = configured
        self._unreachable = unreachable
        # Between the look at the shown rows and the write. Two tasks at once would both write.
        self._lock = anyio.Lock()

    async def show(self, approval: Approval, group: str, turn: TurnRequest) -> str | None:
        """See hub/approvals/escalation.py."""
        async with self._lock:
            return await self._show(approval, group, turn)

    async def _show(self, approval: Approval, group: str, turn: TurnRequest) -> str | None:
        shown = prompts_of(await self._store.outbound_by("subject", approval.id))
        chats = self._chats(group, turn)
        drafts: list[OutboundDraft] = []
        reasons: list[str] = []
        for chat in chats:
            prompts = shown.get(str(chat))
            why_not = self._why_not(chat.account) or (None if prompts is None else why_lost(prompts))
            if why_not is not None:
                reasons.append(why_not)
            elif prompts is None:
                drafts += self._prompt(approval, chat)
        reachable = len(reasons) < len(chats)
        if group == OPERATORS:
            reachable = can_operators_answer(self._configured.config)
            reasons = ["no token has the scope approvals"]
        if reachable:
            drafts += await self._notice(approval, turn, {*shown, *(draft.conversation for draft in drafts)})
        if drafts:
            await self._outbox.write(drafts)
        return None if reachable else "; ".join(reasons) or f"there is no group {group!r} that is shown anything"

    async def still_shown(self, approval: Approval, groups: Sequence[str]) -> str | None:
        """See hub/approvals/escalation.py."""
        if OPERATORS in groups and can_operators_answer(self._configured.config):
            return None
        shown = prompts_of(await self._store.outbound_by("subject", approval.id))
        lost = [why for prompts in shown.values() if (why := why_lost(prompts)) is not None]
        return None if len(lost) < len(shown) else "; ".join(lost) or "there is no prompt of it"

    async def update(self, approval: Approval) -> None:
        """See hub/approvals/escalation.py."""
        async with self._lock:
            # Read anew: the update for a first vote may come after the one for the last vote.
            approval = await self._store.get_approval(approval.id) or approval
            for subject in (approval.id, notice_of(approval.id)):
                rows = await self._store.outbound_by("subject", subject)
                shown = prompts_of(rows).values()
                drafts = [draft for prompts in shown for draft in self._rewritten(approval, prompts, rows)]
                if drafts:
                    await self._outbox.write(drafts)

    async def show_anew(self, approval: Approval, account: Account, *, before: float) -> None:
        """See hub/approvals/escalation.py."""
        async with self._lock:
            found = await self._store.get_approval(approval.id)
            rows = await self._store.outbound_by("subject", approval.id, account=account)
            due = [prompts[-1] for prompts in prompts_of(rows).values() if is_due(prompts, before=before)]
            if due and found is not None and found.state == "pending":
                # In one commit: after a crash each prompt has both or none.
                await self._outbox.write([draft for row in due for draft in self._anew(found, row)])

    def who_may(self, approval: Approval, conversation: str) -> frozenset[str]:
        """The people (CHANNEL:ID) who may answer this request in this conversation."""
        people: set[str] = set()
        for name in approval.groups:
            group = self._configured.config.approvals.groups.get(name)
            if group is not None and conversation in _conversations(group, approval):
                people.update(group.people)
        return frozenset(people)

    def is_approver(self, identity: str) -> bool:
        """Whether this person (CHANNEL:ID) may answer anything anywhere."""
        return any(identity in group.people for group in self._configured.config.approvals.groups.values())

    def _chats(self, group: str, turn: TurnRequest) -> list[ConversationId]:
        found = self._configured.config.approvals.groups.get(group)
        return [] if found is None else [turn.conversation if chat == ORIGIN else _chat(chat) for chat in found.chats]

    def _why_not(self, account: AccountId) -> str | None:
        if account.channel not in self._configured.plugins:
            return f"{account} is not configured"
        return self._unreachable(account.channel, account.name)

    def _prompt(self, approval: Approval, chat: ConversationId) -> list[OutboundDraft]:
        plugin = self._configured.plugin_for(chat.account.channel, chat.account.name, chat.peer)
        choices = self._choices(approval) if plugin.buttons else ()
        body = _fitting(lambda size: self._text(approval, size, plugin), plugin)
        instead = _in_words(approval) if choices else ""
        return [self._draft(chat, SendText(chat.peer, body, choices=choices, instead=instead), approval, approval.id)]

    async def _notice(self, approval: Approval, turn: TurnRequest, shown: set[str]) -> list[OutboundDraft]:
        """The notice for the chat of the message, unless that chat has the prompt itself."""
        chat = turn.conversation
        if str(chat) in shown or self._why_not(chat.account) is not None:
            return []
        if await self._store.outbound_by("subject", notice_of(approval.id)):
            return []
        text = f"Waiting for permission to use `{_inline(approval.tool)}`."
        if OPERATORS in approval.groups:
            text = (
                f"Waiting for the operator's permission to use `{_inline(approval.tool)}`. "
                f"Answer with `gatewayctl approvals allow {approval.id}` or `gatewayctl approvals deny {approval.id}`."
            )
        body = _fitting(lambda size: text, self._configured.plugin_for(turn.channel, turn.account, turn.peer))
        return [self._draft(chat, SendText(turn.peer, body), approval, notice_of(approval.id))]

    def _anew(self, approval: Approval, row: OutboundRow) -> list[OutboundDraft]:
        """The prompt once more, and an edit of the one before, which says so and keeps its buttons."""
        chat, plugin = _chat_of(row), self._configured.plugins[row.channel]
        drafts = self._prompt(approval, chat)
        if _can_edit(row, plugin):
            body = _fitting(lambda size: f"{ANEW}\n\n{self._text(approval, size, plugin)}", plugin)
            drafts.append(self._draft(chat, self._edit(approval, row, body), approval, anew(approval.id)))
        return drafts

    def _rewritten(self, approval: Approval, prompts: Sequence[OutboundRow], rows: Sequence[OutboundRow]) -> list[OutboundDraft]:
        """The edits of the prompts of one chat; of the newest alone while it is pending. On a channel without edits: a new text.
        Nothing that was written already."""
        seen = [row for row in prompts if row.state not in NEVER_SEEN]
        plugin = self._configured.plugins.get(prompts[0].channel)
        if plugin is None or not seen:
            return []
        newest, is_notice, is_pending = seen[-1], prompts[0].subject != approval.id, approval.state == "pending"
        body = _fitting(lambda size: self._outcome(approval, size, brief=is_notice, plugin=plugin), plugin)
        chat, subject = _chat_of(newest), newest.subject or approval.id
        said = [row for row in rows if row.conversation == newest.conversation and row.payload.body == body]
        payloads: list[OutboundPayload] = []
        for row in seen[-1:] if is_pending else seen:
            if _can_edit(row, plugin):
                if not any(one is row or not isinstance(one.payload, EditText) or one.payload.of == row.id for one in said):
                    payloads.append(self._edit(approval, row, body))
            elif row is newest and not (is_notice or is_pending or said):
                payloads.append(SendText(row.payload.peer, body))
        return [self._draft(chat, payload, approval, subject) for payload in payloads]

    def _edit(self, approval: Approval, row: OutboundRow, body: RichText) -> EditText:
        choices = self._choices(approval) if approval.state == "pending" and self._configured.plugins[row.channel].buttons else ()
        instead = _in_words(approval) if choices else ""
        return EditText(row.payload.peer, body, of=row.id, choices=choices, instead=instead)

    def _draft(self, chat: ConversationId, payload: OutboundPayload, approval: Approval, subject: str) -> OutboundDraft:
        return OutboundDraft(
            channel=chat.account.channel,
            account=chat.account.name,
            conversation=str(chat),
            payload=payload,
            turn_id=approval.turn_id,
            subject=subject,
        )

    def _choices(self, approval: Approval) -> tuple[tuple[Choice, ...], ...]:
        once, deny = Choice("Allow once", f"ap:{approval.id}:once"), Choice("Deny", f"ap:{approval.id}:deny")
        rows: list[tuple[Choice, ...]] = [(once, deny)]
        if approval.session_grant != "off":
            what = approval.for_session(_inline(approval.tool, at_most=20))
            rows.append((Choice(f"Allow for this session: {what}", f"ap:{approval.id}:session"),))
        return tuple(rows)

    def _text(self, approval: Approval, size: int, plugin: ChannelPlugin) -> str:
        answer = "" if plugin.buttons else _in_words(approval, mark="`")
        if size == 0:
            # If nothing else fits: how to see the request, and how to answer.
            return f"`{_inline(approval.tool)[:30]}`? See `/show {approval.code}`. {answer}"
        lines = [f"**{_plain(approval.agent)}** wants to use **{_plain(approval.tool)}** and waits for permission."]
        lines += [
            _shown_input(approval, size),
            f"Asked by {_plain(approval.asked_by or 'nobody known')} in {_plain(approval.origin)}.",
        ]
        if approval.quorum > 1:
            lines.append(f"{self._configured.voters.count(approval)} of {approval.quorum} have allowed it.")
        return "\n\n".join([*lines, answer] if answer else lines)

    def _outcome(self, approval: Approval, size: int, *, brief: bool, plugin: ChannelPlugin) -> str:
        if approval.state == "pending":
            return self._text(approval, size, plugin)
        said = _OUTCOMES[approval.state]
        if approval.state == "allowed" or approval.state == "denied":
            what = f" for this session ({approval.for_session(_plain(approval.tool))})" if approval.scope == "session" else ""
            note = f" ({_plain(approval.note)})" if approval.note else ""
            said += f"{what} by {_plain(approval.decided_by or 'nobody known')}{note}."
        elif approval.note:
            said += f" ({_plain(approval.note)})"
        if brief or size == 0:
            return f"`{_inline(approval.tool)}`: {said}"
        return f"**{_plain(approval.tool)}**: {said}\n\n{_shown_input(approval, size)}"


def _in_words(approval: Approval, mark: str = "") -> str:
    """How to answer without buttons."""
    return f"Answer with {mark}/approve {approval.code}{mark} or {mark}/deny {approval.code}{mark}."


def can_operators_answer(config: GatewayConfig) -> bool:
    """Whether a token has the right to answer. Without tokens in the configuration the daemon makes one with all rights."""
    tokens = config.auth.tokens.values()
    return not tokens or any(not {"approvals", "admin"}.isdisjoint(token.scopes) for token in tokens)


def notice_of(approval_id: str) -> str:
    """The subject of the notices about a request."""
    return f"{approval_id}/notice"


def _chat(name: str) -> ConversationId:
    """A chat as the configuration names it: CHANNEL:ACCOUNT:KIND:ID, the id as it is, with its colons."""
    channel, account, kind, peer_id = name.split(":", 3)
    known: PeerKind = "dm" if kind == "dm" else "group" if kind == "group" else "channel"
    return ConversationId(AccountId(channel, account), Peer(known, peer_id))


def _conversations(group: ApproverGroup, approval: Approval) -> list[str]:
    return [approval.origin if chat == ORIGIN else str(_chat(chat)) for chat in group.chats]


def _fitting(render: Callable[[int], str], plugin: ChannelPlugin) -> RichText:
    """The longest version that fits into one message."""
    bodies = []
    for size in _SHOWN_CHARACTERS:
        bodies = bodies_of(render(size), plugin)
        if len(bodies) == 1:
            break
    return bodies[0]


def whole_text(approval: Approval) -> str:
    """The input as a reply to ``/show``."""
    return f"**{_plain(approval.tool)}** of approval {approval.id}:\n\n{_shown_input(approval, _WHOLE_CHARACTERS)}"


def _shown_input(approval: Approval, size: int) -> str:
    """The input as a code block. If it is too long: how much is shown, and where the rest is."""
    text = _pretty(approval.input)
    cut = visible(text[:size])
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", cut))])
    block = f"{fence}\n{cut}\n{fence}"
    if len(text) <= size:
        return block
    in_chat = f"`/show {approval.code}`, or " if size < _WHOLE_CHARACTERS else ""
    return (
        f"{block}\n\n**Only the first {size} of {len(text)} characters are shown.** "
        f"All of it: {in_chat}`gatewayctl approvals show {approval.id}`."
    )


def _chat_of(row: OutboundRow) -> ConversationId:
    return ConversationId(AccountId(row.channel, row.account), row.payload.peer)


def _can_edit(row: OutboundRow, plugin: ChannelPlugin) -> bool:
    """A row of unknown outcome has no message id for an edit."""
    return plugin.edits and row.state != "unknown"


def _pretty(text: str) -> str:
    """JSON with one value on each line; unchanged if that makes it much longer, as deep nesting does."""
    try:
        formatted = msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, RecursionError):
        return text
    return formatted if len(formatted) <= _FORMATTED_MAX * len(text) else text


def _inline(text: str, *, at_most: int = 80) -> str:
    """A text for inside backticks."""
    seen = visible(" ".join(text.split())).replace("`", "'")
    return seen if len(seen) <= at_most else seen[: at_most - 1] + "…"


def _plain(text: str) -> str:
    """A foreign text, with its markup escaped."""
    seen = visible(" ".join(text.split()))
    shown = seen if len(seen) <= _NAME_MAX else seen[: _NAME_MAX - 1] + "…"
    if "\\" in shown or shown.count("$") > 1 or any("://" in word and _MARKER.search(word) for word in shown.split(" ")):
        return f"`{_inline(shown, at_most=_NAME_MAX)}`"  # where a backslash would not escape but be shown
    return _LINK_START.sub(r"]\\(", _LINK.sub(r"\\[\1\\]\\(\2\\)", _MARKER.sub(r"\\\g<0>", shown)))
