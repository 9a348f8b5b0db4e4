"""What must hold at the end of a run: the rows in the store, beside what the world has seen."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from gatewayd.model.lifecycle import NEVER_SEEN, OUTBOUND_OPEN, REASONS
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, SendText
from gatewayd.model.subject import is_about_reply, is_repetition
from tests.simulation.checks.decisions import check_decisions
from tests.simulation.checks.growth import check_growth, is_said
from tests.simulation.checks.ledger import AskedRow, Ledger, OutRow
from tests.simulation.checks.presses import check_presses
from tests.simulation.outside.cores import UNFINISHED
from tests.simulation.outside.platforms import Account, Identity, Shown, identity_of, place_of
from tests.simulation.outside.troubles import ACCOUNTS_AWAY, AGENTS_AWAY
from tests.simulation.scenario import APPROVERS, CHANNELS
from tests.simulation.trace import Violation

if TYPE_CHECKING:
    from tests.simulation.world import World

CALM_SECONDS = 40.0
"""Within this the untouched account must answer, also the last of several messages at once."""
_VISIBLE = ("sent", "unknown")
_ENDS = {(state, reason) for state, reasons in REASONS.items() for reason in reasons}
_RELOAD_SECONDS = 40.0
"""So long may it take until a configuration is in force, after the reload was asked for."""


def check(world: "World", ledger: Ledger) -> None:
    """:raises Violation: the first promise that was broken."""
    for rule in (
        _nothing_is_lost,
        _taken_once,
        _reports_count,
        _everything_ends,
        _effects_once,
        _answers_once,
        check_growth,
        _seen_is_not_never,
        _visible_once,
        _told_once,
        _edits_once,
        _in_order,
        _no_cross_talk,
        _gated,
        _votes,
        _calm_account,
        check_decisions,
        check_presses,
    ):
        rule(world, ledger)


def check_gone(world: "World", ledger: Ledger) -> None:
    """While accounts are away: what belongs to them has ended, but for replies that wait for them. :raises Violation:"""
    gone = {(one.channel, one.name) for one in world.accounts.values() if one in world.away}
    for row in ledger.inbound:
        if (row.channel, row.account) in gone and (row.ended_at is None or not row.reason):
            raise Violation("everything ends", f"in-{row.id} of an account that is gone is {row.state} ({row.reason})")
    for out in ledger.outbound:
        if (out.channel, out.account) in gone and out.state == "sending":
            raise Violation("everything ends", f"out-{out.id} of an account that is gone is {out.state}")


def _nothing_is_lost(world: "World", ledger: Ledger) -> None:
    known = {(row.channel, row.account, row.envelope.event_key) for row in ledger.inbound}
    for account in world.accounts.values():
        for number in account.confirmed:
            is_report = account.updates[number - 1].report is not None
            if not is_report and (account.channel, account.name, account.key_of(number)) not in known:
                raise Violation("nothing is lost", f"update {number} of {account} was acknowledged, and has no row")


def _reports_count(world: "World", ledger: Ledger) -> None:
    """A report that was acknowledged has had its effect, whether it came before the receipt or after it."""
    for account in world.accounts.values():
        rows = {row.message_id: row for row in ledger.outbound if _is_of(row, account) and isinstance(row.payload, SendText)}
        told = [update.report for update in account.updates if update.number in account.confirmed and update.report is not None]
        for report in told:
            row = rows.get(report.message_id)
            counts = (
                row is None or {"delivered": row.delivered_at, "read": row.read_at, "failed": row.state != "sent"}[report.kind]
            )
            if row is not None and not counts:
                raise Violation(
                    "reports count", f"{account} has reported that out-{row.id} was {report.kind}, and it is {row.state}"
                )


def _taken_once(world: "World", ledger: Ledger) -> None:
    times = Counter((row.channel, row.account, row.envelope.event_key) for row in ledger.inbound)
    for event, count in times.items():
        if count > 1:
            raise Violation("taken once", f"{event} has {count} rows")
    written = (row for row in ledger.inbound if row.envelope.kind == "message" and row.envelope.message_id is not None)
    for message, count in Counter((row.channel, row.account, row.envelope.message_id) for row in written).items():
        if count > 1:
            raise Violation("taken once", f"the message {message} has {count} rows")
    for row in ledger.inbound:
        if row.envelope.kind == "edit" and row.turn_id == f"turn-{row.id}":
            raise Violation("taken once", f"in-{row.id} is an edit, and was run as a message of its own")
        if row.reason == "deleted" and row.turn_id is not None:
            raise Violation("taken once", f"in-{row.id} was deleted before its turn, and was run in {row.turn_id}")


def _everything_ends(world: "World", ledger: Ledger) -> None:
    for row in ledger.inbound:
        if (row.state, row.reason) not in _ENDS or row.ended_at is None:
            raise Violation("everything ends", f"in-{row.id} is {row.state} ({row.reason}) at the end")
    for out in ledger.outbound:
        if out.state in OUTBOUND_OPEN:
            raise Violation("everything ends", f"out-{out.id} is {out.state} at the end")


def _effects_once(world: "World", ledger: Ledger) -> None:
    for core, (_, _, frame) in zip(world.cores, world.scenario.agents, strict=True):
        for ran in core.turns.values():
            most = 1 + (ran.lost if frame.on_lost_turn == "rerun" else 0)
            if ran.effects > most:
                raise Violation(
                    "an effect once", f"{ran.turn_id} had its effect {ran.effects} times, and was lost {ran.lost} times"
                )


def _answers_once(world: "World", ledger: Ledger) -> None:
    said: dict[str, set[str]] = defaultdict(set)
    for out in ledger.outbound:
        text = out.payload.body.text
        if is_said(out) and out.turn_id is not None and text.startswith("re turn-") and UNFINISHED not in text:
            said[out.turn_id].add(text.split()[1])
    had_effect = {turn for core in world.cores for turn, ran in core.turns.items() if ran.effects}
    for row in ledger.inbound:
        runs = said.get(row.turn_id or "", set())
        if len(runs) > 1:
            raise Violation("one answer", f"{row.turn_id} was answered with {sorted(runs)}")
        if (row.reason == "answered") != bool(runs):
            raise Violation("one answer", f"in-{row.id} ended as {row.reason}, with the answers {sorted(runs)}")
        if row.reason == "answered" and row.turn_id not in had_effect:
            raise Violation("an effect once", f"{row.turn_id} was answered and had no effect")


def _visible_once(world: "World", ledger: Ledger) -> None:
    for account in world.accounts.values():
        unclaimed = dict(account.shown)
        rows = [r for r in ledger.outbound if _is_of(r, account) and isinstance(r.payload, SendText)]
        for row in (row for row in rows if row.state == "sent"):
            shown = unclaimed.pop(row.message_id or "", None)
            if shown is None or not _shows(shown, row):
                raise Violation("visible once", f"out-{row.id} is sent as {row.message_id}, and {account} shows no such message")
        # Whoever retries what is unknown takes it on himself that it may be seen twice.
        unknown = [row for row in rows if row.state == "unknown"]
        unknown += [row for row in rows for _ in range(ledger.retried[f"out-{row.id}"])]
        for shown in unclaimed.values():
            row_or_none = next((row for row in unknown if _shows(shown, row)), None)
            if row_or_none is None:
                text = shown.texts[0][:60]
                raise Violation("visible once", f"{account} shows {shown.message_id}, which no row explains: {text!r}")
            unknown.remove(row_or_none)


def _told_once(world: "World", ledger: Ledger) -> None:
    """Of each reply that has a part of unknown outcome its chat is told once, and of no other. An account that was away when its
    row was found to be unknown is excused."""
    about = [row for row in ledger.outbound if row.subject is not None and is_about_reply(row.subject)]
    notices = Counter(row.turn_id for row in about if not is_repetition(row.subject or ""))
    parts = [row for row in ledger.outbound if row.turn_id and is_said(row)]
    unknown = {row.turn_id for row in parts if row.state == "unknown"}
    for turn in unknown - notices.keys():
        if not world.fired[ACCOUNTS_AWAY]:
            raise Violation("told once", f"a part of the answer of {turn} is unknown, and its chat was not told")
    for turn, times in notices.items():
        if times > 1 or turn not in unknown | {row.turn_id for row in parts if ledger.retried[f"out-{row.id}"]}:
            raise Violation("told once", f"the chat of {turn} was told {times} times that its answer may not have arrived")
    places = {row.turn_id: row.place for row in parts}
    for row in about:
        if row.place != places.get(row.turn_id, row.place):
            raise Violation("no cross-talk", f"out-{row.id}, about the answer of {row.turn_id}, went to {row.place}")


def _edits_once(world: "World", ledger: Ledger) -> None:
    ids = {row.id: row.message_id for row in ledger.outbound}
    growing = {row.message_id for row in ledger.outbound if isinstance(row.payload, SendText) and row.payload.grows}
    for account in world.accounts.values():
        wanted: Counter[tuple[str | None, str]] = Counter()
        for row in ledger.outbound:
            if _is_of(row, account) and isinstance(row.payload, EditText) and row.state in _VISIBLE:
                wanted[ids.get(row.payload.of), row.payload.body.text] += 1 + ledger.retried[f"out-{row.id}"]
                if row.state == "sent" and row.payload.body.text not in account.shown[row.message_id or ""].texts[1:]:
                    raise Violation("visible once", f"the edit out-{row.id} is sent, and {account} does not show it")
        shown = Counter((one.message_id, text) for one in account.shown.values() for text in one.texts[1:])
        for (message_id, text), times in shown.items():
            if times > wanted[message_id, text] and message_id not in growing:
                raise Violation("visible once", f"{message_id} of {account} was changed {times} times to {text[:60]!r}")


def _seen_is_not_never(world: "World", ledger: Ledger) -> None:
    ids = {row.id: row.message_id for row in ledger.outbound}
    for account in world.accounts.values():
        rows = [(row, _identity(row, ids)) for row in ledger.outbound if _is_of(row, account)]
        explained = {identity for row, identity in rows if row.state not in NEVER_SEEN}
        for row, identity in rows:
            by_hand = f"out-{row.id}" in ledger.retried
            if row.state in NEVER_SEEN and identity in account.may_be_seen - explained and not by_hand:
                raise Violation("seen is not never", f"out-{row.id} is {row.state} ({row.reason}), and may have been seen")


def _identity(row: OutRow, ids: Mapping[int, str | None]) -> Identity:
    return identity_of(row.payload, ids.get(row.payload.of) if isinstance(row.payload, EditText) else None)


def _in_order(world: "World", ledger: Ledger) -> None:
    for account in world.accounts.values():
        position = {message_id: number for number, message_id in enumerate(account.shown)}
        newest: dict[str, int] = {}
        for row in ledger.outbound:
            by_hand = f"out-{row.id}" in ledger.retried
            if _is_of(row, account) and isinstance(row.payload, SendText) and row.state == "sent" and not by_hand:
                here = position[row.message_id or ""]
                if here < newest.get(row.place, -1):
                    raise Violation("in order", f"out-{row.id} was shown before an older one in {row.place}")
                newest[row.place] = here
    for core in world.cores:
        for session_key, turns in core.started.items():
            # Of a turn that a person had run again the name ends with how often.
            numbers = [int(turn.removeprefix("turn-")) for turn in turns if turn.count("-") == 1]
            for in_order in _lines(world, ledger, numbers):
                for before, after in pairwise(in_order):
                    if after < before:
                        raise Violation("in order", f"turn {after} of {session_key} began after turn {before}")


def _lines(world: "World", ledger: Ledger, numbers: list[int]) -> Iterable[list[int]]:
    """What must have begun in order: all turns of a session; or of each of its chats, where an agent was taken away: a turn that
    ran with it goes on with the other one after it was cut, and only its own chat waits for that."""
    if not world.fired[AGENTS_AWAY]:
        return [numbers]
    places = {row.id: row.place for row in ledger.inbound}
    found: dict[str, list[int]] = defaultdict(list)
    for number in numbers:
        found[places[number]].append(number)
    return found.values()


def _no_cross_talk(world: "World", ledger: Ledger) -> None:
    places = {row.id: row.place for row in ledger.inbound}
    for row in ledger.outbound:
        # turn-N begins with the message in-N.
        place = None if row.turn_id is None else places[int(row.turn_id.split("-")[1])]
        if row.subject is None and place not in (None, row.place):
            raise Violation("no cross-talk", f"out-{row.id} of {row.turn_id} went to {row.place}, not {place}")
    for account in world.accounts.values():
        for shown in account.shown.values():
            words = shown.texts[0].split()
            place = place_of(account.channel, account.name, shown.peer)
            if words[:1] == ["re"] and words[3].rstrip(":,") != place:
                raise Violation("no cross-talk", f"{shown.message_id} in {place} says {shown.texts[0][:60]!r}")
    _sessions_of_their_own(world)
    renewed = sum(row.envelope.text == "/new" and row.reason == "command" for row in ledger.inbound)
    for core in world.cores:
        for session_key, used in core.used.items():
            if len(set(used)) < len(used) or len(used) > 1 + renewed:
                raise Violation("no cross-talk", f"{session_key} had the sessions {used}, and /new was written {renewed} times")


def _sessions_of_their_own(world: "World") -> None:
    """Who shares a session, by the configuration's own words, computed in another way than the daemon does."""
    scope = world.scenario.sections[0].dm_scope
    for core in world.cores:
        owner: dict[str, str] = {}
        for session_key, spoken_with in core.spoken_with.items():
            who = {_who(scope, *place) for place in spoken_with}
            if len(who) > 1 or any(owner.setdefault(one, session_key) != session_key for one in who):
                raise Violation("no cross-talk", f"{session_key} is the session of {sorted(who)}")


def _who(scope: str, channel: str, account: str, peer: Peer) -> str:
    if peer.kind == "dm" and scope == "main":
        return "everybody who writes directly"
    if peer.kind == "dm" and scope == "per-channel-peer":
        return f"{peer.id} on {channel}"
    return place_of(channel, account, peer)


def _gated(world: "World", ledger: Ledger) -> None:
    used: Counter[tuple[str, str, str, str]] = Counter()
    for row in ledger.asked:
        if row.state == "allowed" and row.consumed_at is not None:
            used[row.agent, row.turn_id, row.tool, row.input] += 1
    for core in world.cores:
        refs = Counter(action.ref for action in core.actions if action.ref is not None)
        if refs and max(refs.values()) > 1:
            raise Violation("gated", f"an action was carried out twice: {refs.most_common(1)}")
        for action in core.actions:
            used[core.name, action.turn_id, action.tool, action.input] -= 1
            if used[core.name, action.turn_id, action.tool, action.input] < 0:
                raise Violation("gated", f"{action} of {core} has no request of its own that was allowed and used for it")


def _votes(world: "World", ledger: Ledger) -> None:
    by_id = {row.id: row for row in ledger.asked}
    senders = {row.id: f"{row.channel}:{row.envelope.sender.id}" for row in ledger.inbound}
    may = {f"{channel}:{name}" for channel in CHANNELS for name in APPROVERS} | {"operator:alice"}
    for row in ledger.asked:
        if row.state != "allowed":
            continue
        by = row.decided_by or ""
        if by.startswith("session:"):
            given = by_id[by.partition(":")[2]]
            same = (given.session_key, given.session_id, given.tool) == (row.session_key, row.session_id, row.tool)
            grant = given.session_grant
            if not same or grant == "off" or (grant == "input" and given.input != row.input):
                raise Violation("gated", f"{row.id} was allowed by {given.id}, which was of another session or request")
        elif not by.startswith("policy:"):
            yes = {vote.by for vote in row.votes if vote.allow}
            if len(yes) < row.quorum or not yes <= may or _is_one_person_twice(world, row):
                raise Violation("gated", f"{row.id} was allowed by {sorted(yes)}, of whom {row.quorum} were wanted")
            if any(vote.inbound_id is not None and senders[vote.inbound_id] != vote.by for vote in row.votes):
                raise Violation("gated", f"{row.id} was answered in somebody else's name: {row.votes}")
            if (row.decided_at or 0.0) > row.expires_at:
                raise Violation("gated", f"{row.id} was allowed after its time was over")


def _is_one_person_twice(world: "World", row: AskedRow) -> bool:
    """Whether those who were wanted were one person by the links that held when it was decided. Where they may have changed just
    then, either answer is right."""
    decided = row.decided_at or 0.0
    _, linked = max(change for change in world.changes if change[0] < decided)
    changed = any(decided - _RELOAD_SECONDS <= at <= decided for at, _ in world.changes)
    people = {"one" if vote.by in linked else vote.by for vote in row.votes if vote.allow}
    return not changed and len(people) < row.quorum


def _calm_account(world: "World", ledger: Ledger) -> None:
    for account in filter(world.is_calm, world.accounts.values()):
        first: dict[str, float] = {}
        for shown in account.shown.values():
            words = shown.texts[0].split()
            if words[:1] == ["re"]:
                first.setdefault(words[1].partition(".")[0], shown.at)
        sent = {account.key_of(update.number): update.at for update in account.updates}
        for row in ledger.inbound:
            if (row.channel, row.account) == (account.channel, account.name) and row.reason == "answered":
                took = first[row.turn_id or ""] - sent[row.envelope.event_key]
                if took > CALM_SECONDS:
                    raise Violation("isolation", f"in-{row.id} of the untouched account was answered after {took:.1f} s")


def _is_of(row: OutRow, account: Account) -> bool:
    return (row.channel, row.account) == (account.channel, account.name)


def _shows(shown: Shown, row: OutRow) -> bool:
    return shown.peer == row.payload.peer and shown.texts[0] == row.payload.body.text
