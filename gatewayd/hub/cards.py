"""Requests as people see them in chats: a card with buttons for those who may answer, a notice where the message came from.

A card is an outbox row whose subject is the approval's id, a notice one whose subject is ``<id>/notice``: so after a restart it
is known what has been shown where, and what has become of the request is written over it, once.
"""

from collections.abc import Callable, Sequence

import msgspec

from gatewayd.hub.outbox import Outbox, conversation_of
from gatewayd.kit.text import compose
from gatewayd.model.approval import Approval
from gatewayd.model.config import OPERATORS, ApproverGroup, GatewayConfig
from gatewayd.model.envelope import Peer, PeerKind
from gatewayd.model.payload import Choice, EditText, OutboundPayload, RichText, SendText
from gatewayd.ports.agent import TurnRequest
from gatewayd.ports.channel import ChannelPlugin
from gatewayd.ports.store import OutboundDraft, OutboundRow, OutboxRows

ORIGIN = "origin"
_SHOWN_CHARACTERS = (1500, 700, 300, 100)
_OUTCOMES = {
    "allowed": "**Allowed**",
    "denied": "**Denied**",
    "expired": "**Expired**: nobody answered in time; it was not run.",
    "withdrawn": "**Withdrawn**: it is not wanted any more; it was not run.",
    "undeliverable": "**Not shown**: nobody could be asked; it was not run.",
}


class ApprovalCards:
    """Writes and rewrites them. ``unreachable`` says why an account cannot show anything now, or None."""

    def __init__(
        self,
        store: OutboxRows,
        outbox: Outbox,
        config: GatewayConfig,
        plugins: dict[str, ChannelPlugin],
        *,
        unreachable: Callable[[str, str], str | None],
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._groups = config.approvals.groups
        self._grants = {agent.agent_id: agent.frame.approvals.session_grant for agent in config.agents}
        self._operators = can_operators_answer(config)
        self._plugins = plugins
        self._unreachable = unreachable

    async def show(self, approval: Approval, group: str, turn: TurnRequest) -> str | None:
        """See ``hub.approvals.Cards``."""
        cards = await self._store.outbound_about(approval.id)
        notices = await self._store.outbound_about(notice_of(approval.id))
        shown = {row.conversation for row in (*cards, *notices)}
        drafts: list[OutboundDraft] = []
        reasons: list[str] = []
        for place in self._places(group, turn):
            why_not = self._why_not(place)
            if why_not is not None:
                reasons.append(why_not)
            elif place.conversation not in shown:
                drafts += self._card(approval, place)
        reachable = bool(self._places(group, turn)) and len(reasons) < len(self._places(group, turn))
        if group == OPERATORS:
            reachable = self._operators
            reasons = ["no token has the scope approvals"]
        if reachable:
            drafts += self._notice(approval, turn, shown | {draft.conversation for draft in drafts})
        if drafts:
            await self._outbox.write(drafts)
        return None if reachable else "; ".join(reasons)

    async def still_shown(self, approval: Approval, groups: Sequence[str]) -> str | None:
        """See ``hub.approvals.Cards``."""
        if OPERATORS in groups and self._operators:
            return None
        cards = first_cards(await self._store.outbound_about(approval.id))
        lost = [row.reason or row.state for row in cards if row.state in ("dead", "parked")]
        return None if len(lost) < len(cards) else f"the card could not be shown: {'; '.join(lost)}"

    async def update(self, approval: Approval) -> None:
        """See ``hub.approvals.Cards``."""
        for subject in (approval.id, notice_of(approval.id)):
            rows = await self._store.outbound_about(subject)
            drafts = [draft for row in first_cards(rows) for draft in self._rewritten(approval, row, rows)]
            if drafts:
                await self._outbox.write(drafts)

    def who_may(self, approval: Approval, conversation: str) -> frozenset[str]:
        """The people (CHANNEL:ID) who may answer this request in this conversation."""
        people: set[str] = set()
        for name in approval.groups:
            group = self._groups.get(name)
            if group is not None and conversation in _conversations(group, approval):
                people.update(group.people)
        return frozenset(people)

    def is_approver(self, identity: str) -> bool:
        """Whether this person (CHANNEL:ID) may answer anything anywhere."""
        return any(identity in group.people for group in self._groups.values())

    def _places(self, group: str, turn: TurnRequest) -> list["_Place"]:
        found = self._groups.get(group)
        return [] if found is None else [_place(chat, turn) for chat in found.chats]

    def _why_not(self, place: "_Place") -> str | None:
        if place.channel not in self._plugins:
            return f"{place.channel}/{place.account} is not configured"
        return self._unreachable(place.channel, place.account)

    def _card(self, approval: Approval, place: "_Place") -> list[OutboundDraft]:
        plugin = self._plugins[place.channel]
        choices = self._choices(approval) if plugin.buttons else ()
        body = _fitting(lambda size: self._text(approval, size, plugin), plugin)
        return [self._draft(place, SendText(place.peer, body, choices=choices), approval, approval.id)]

    def _notice(self, approval: Approval, turn: TurnRequest, shown: set[str]) -> list[OutboundDraft]:
        """In the chat that the message came from, unless the card itself is there: the user is not left in the dark."""
        place = _place(ORIGIN, turn)
        if place.conversation in shown or self._why_not(place) is not None:
            return []
        text = f"Waiting for permission to use `{_inline(approval.tool)}`."
        if OPERATORS in approval.groups:
            text = (
                f"Waiting for the operator's permission to use `{_inline(approval.tool)}`. "
                f"Answer with `gatewayctl approvals allow {approval.id}` or `gatewayctl approvals deny {approval.id}`."
            )
        body = _fitting(lambda size: text, self._plugins[place.channel])
        return [self._draft(place, SendText(place.peer, body), approval, notice_of(approval.id))]

    def _rewritten(self, approval: Approval, row: OutboundRow, rows: Sequence[OutboundRow]) -> list[OutboundDraft]:
        """The edit of one card, or a new text where nothing can be edited. None when that has been written already."""
        plugin = self._plugins.get(row.channel)
        if plugin is None or row.state in ("dead", "parked"):
            return []
        is_notice = row.subject != approval.id
        if not plugin.edits and (is_notice or approval.state == "pending"):
            return []
        body = _fitting(lambda size: self._outcome(approval, size, brief=is_notice, plugin=plugin), plugin)
        if any(other.conversation == row.conversation and other.payload.body == body for other in rows):
            return []
        choices = self._choices(approval) if approval.state == "pending" and plugin.buttons else ()
        payload: OutboundPayload
        if plugin.edits:
            payload = EditText(row.payload.peer, body, of=row.id, choices=choices)
        else:
            payload = SendText(row.payload.peer, body)
        place = _Place(row.channel, row.account, row.payload.peer)
        return [self._draft(place, payload, approval, row.subject or approval.id)]

    def _draft(self, place: "_Place", payload: OutboundPayload, approval: Approval, subject: str) -> OutboundDraft:
        return OutboundDraft(
            channel=place.channel,
            account=place.account,
            conversation=place.conversation,
            payload=payload,
            turn_id=approval.turn_id,
            subject=subject,
        )

    def _choices(self, approval: Approval) -> tuple[tuple[Choice, ...], ...]:
        rows = [(Choice("Allow once", f"ap:{approval.id}:once"), Choice("Deny", f"ap:{approval.id}:deny"))]
        grant = self._grants.get(approval.agent, "off")
        if grant != "off":
            label = (
                f"Allow all of {approval.tool[:20]} for this session"
                if grant == "tool"
                else "Allow exactly this for this session"
            )
            rows.append((Choice(label, f"ap:{approval.id}:session"),))  # type: ignore[arg-type]
        return tuple(rows)

    def _text(self, approval: Approval, size: int, plugin: ChannelPlugin) -> str:
        lines = [f"**{_plain(approval.agent)}** wants to use **{_plain(approval.tool)}** and waits for permission."]
        lines += [
            _shown_input(approval, size),
            f"Asked by {_plain(approval.asked_by or 'nobody known')} in {_plain(approval.origin)}.",
        ]
        if approval.quorum > 1:
            lines.append(f"{len(approval.votes)} of {approval.quorum} have allowed it.")
        if not plugin.buttons:
            lines.append(f"Answer with `/approve {approval.code}` or `/deny {approval.code}`.")
        return "\n\n".join(lines)

    def _outcome(self, approval: Approval, size: int, *, brief: bool, plugin: ChannelPlugin) -> str:
        if approval.state == "pending":
            return self._text(approval, size, plugin)
        said = _OUTCOMES[approval.state]
        if approval.state in ("allowed", "denied"):
            what = " for this session" if approval.scope == "session" else ""
            note = f" ({_plain(approval.note)})" if approval.note else ""
            said += f"{what} by {_plain(approval.decided_by or 'nobody known')}{note}."
        elif approval.note:
            said += f" ({_plain(approval.note)})"
        if brief:
            return f"`{_inline(approval.tool)}`: {said}"
        return f"**{_plain(approval.tool)}**: {said}\n\n{_shown_input(approval, size)}"


class _Place(msgspec.Struct, frozen=True):
    channel: str
    account: str
    peer: Peer

    @property
    def conversation(self) -> str:
        return conversation_of(self.channel, self.account, self.peer)


def can_operators_answer(config: GatewayConfig) -> bool:
    """Whether there is a token that can: without any in the configuration one is made, which can do everything."""
    tokens = config.auth.tokens.values()
    return not tokens or any(not {"approvals", "admin"}.isdisjoint(token.scopes) for token in tokens)


def notice_of(approval_id: str) -> str:
    """The subject of the notices about a request."""
    return f"{approval_id}/notice"


def first_cards(rows: Sequence[OutboundRow]) -> list[OutboundRow]:
    """The first row of each conversation: the card itself. What came after it are its edits."""
    first: dict[str, OutboundRow] = {}
    for row in rows:
        first.setdefault(row.conversation, row)
    return list(first.values())


def _place(chat: str, turn: TurnRequest) -> _Place:
    if chat == ORIGIN:
        return _Place(turn.channel, turn.account, turn.peer)
    channel, account, kind, peer_id = chat.split(":", 3)
    known: PeerKind = "dm" if kind == "dm" else "group" if kind == "group" else "channel"
    return _Place(channel, account, Peer(known, peer_id))


def _conversations(group: ApproverGroup, approval: Approval) -> list[str]:
    return [approval.origin if chat == ORIGIN else chat for chat in group.chats]


def _fitting(render: Callable[[int], str], plugin: ChannelPlugin) -> RichText:
    """The longest version that one message holds."""
    bodies = []
    for size in _SHOWN_CHARACTERS:
        bodies = compose(render(size), text_format=plugin.text_format, text_limit=plugin.text_limit)
        if len(bodies) == 1:
            break
    return bodies[0]


def _shown_input(approval: Approval, size: int) -> str:
    """The input in a block of its own; when it is too long, how much of it is shown, and where the rest is."""
    text = visible(_pretty(approval.input))
    cut = text[:size]
    fence = "`" * max(3, _longest_run(cut) + 1)
    block = f"{fence}\n{cut}\n{fence}"
    if len(text) <= size:
        return block
    return (
        f"{block}\n\n**Only the first {size} of {len(text)} characters are shown.** "
        f"All of it: `/show {approval.code}`, or `gatewayctl approvals show {approval.id}`."
    )


def _pretty(text: str) -> str:
    try:
        return msgspec.json.format(text, indent=2)
    except msgspec.DecodeError:
        return text


def visible(text: str) -> str:
    """Nothing in it can hide or turn round what stands there: what cannot be seen is written as its number."""
    return "".join(c if c == "\n" or c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text)


def _longest_run(text: str) -> int:
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest


def _inline(text: str) -> str:
    """Inside backticks."""
    return visible(" ".join(text.split()))[:80].replace("`", "'")


def _plain(text: str) -> str:
    """A word or a sentence of somebody else's, in which no markup counts."""
    return "".join(f"\\{c}" if c in "\\`*_~[]()<>#|!" else c for c in visible(" ".join(text.split()))[:200])
