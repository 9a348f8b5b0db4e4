"""What the web chat shows of a conversation: its lines as they read now."""

from gatewayd.model.envelope import InboundEnvelope, InboundKind, Peer, Sender
from gatewayd.model.payload import Choice, EditText, RichText, SendText
from gatewayd.ports.store import ChatLine, OutboundDraft
from gatewayd.stores.sqlite import SqliteStore

ALICE = Peer("dm", "alice")
YES = ((Choice("Yes", "q:1:yes"), Choice("No", "q:1:no")),)
TRICKY = 'a text with "kind":"button" and {"type":"edit_text" in it, and \\"kind\\":\\"button\\", too'


async def hear(store: SqliteStore, text: str, *, button: bool = False) -> None:
    key = f"{text}{button}"
    kind: InboundKind = "button" if button else "message"
    envelope = InboundEnvelope("webchat", "main", key, kind, ALICE, Sender("alice"), text=text, received_at=1.0)
    await store.add_inbound([envelope])


async def send(store: SqliteStore, payload: SendText | EditText, now: float = 2.0) -> int:
    [row] = await store.add_outbound([OutboundDraft("webchat", "main", "c", payload)], now=now)
    return row.id


async def ask(store: SqliteStore, text: str) -> int:
    return await send(store, SendText(ALICE, RichText(text), choices=YES))


async def edit(store: SqliteStore, of: int, text: str, peer: Peer = ALICE) -> int:
    return await send(store, EditText(peer, RichText(text), of=of), now=3.0)


async def lines(store: SqliteStore, limit: int = 10) -> list[ChatLine]:
    return await store.transcript("webchat", "main", ALICE, limit=limit)


async def test_buttons_are_shown_with_their_line(store: SqliteStore) -> None:
    await hear(store, "do it")
    row = await ask(store, "Really?")
    assert [(line.text, line.choices, line.edit) for line in await lines(store)] == [("do it", (), 0), ("Really?", YES, 0)]
    number = await edit(store, row, "Done.")
    assert [(line.id, line.at, line.text, line.choices, line.edit) for line in await lines(store)][1:] == [
        (row, 2.0, "Done.", (), number)
    ]


async def test_a_line_reads_as_its_newest_edit_has_it(store: SqliteStore) -> None:
    first, second = await ask(store, "one?"), await ask(store, "two?")
    await edit(store, second, "two: maybe")
    await edit(store, first, "one: yes")
    newest = await edit(store, second, "two: no")
    assert [(line.text, line.edit) for line in await lines(store)] == [("one: yes", newest - 1), ("two: no", newest)]


async def test_an_edit_that_was_given_up_does_not_count(store: SqliteStore) -> None:
    row = await ask(store, "one?")
    number = await edit(store, row, "one: yes")
    await store.mark_sending(number)
    await store.settle_outbound(number, "dead", now=4.0, reason="message gone")
    [line] = await lines(store)
    assert (line.text, line.choices, line.edit) == ("one?", YES, 0)


async def test_edits_and_presses_take_no_place_among_the_newest(store: SqliteStore) -> None:
    row = await ask(store, "one?")
    for number in range(5):
        await hear(store, f"q:1:{number}", button=True)
        await edit(store, row, f"edit {number}")
    assert [line.text for line in await lines(store, 1)] == ["edit 4"]
    later = await send(store, SendText(ALICE, RichText("later")), now=9.0)
    assert [line.text for line in await lines(store, 2)] == ["edit 4", "later"]
    assert [line.id for line in await lines(store, 1)] == [later], "an edit of what is not shown shows nothing"


async def test_what_a_text_says_makes_it_no_press_and_no_edit(store: SqliteStore) -> None:
    await hear(store, TRICKY)
    await send(store, SendText(ALICE, RichText(TRICKY)))
    assert [line.text for line in await lines(store)] == [TRICKY, TRICKY]


async def test_nobody_edits_a_line_of_another_conversation(store: SqliteStore) -> None:
    row = await ask(store, "one?")
    await edit(store, row, "taken over", peer=Peer("dm", "mallory"))
    assert [line.text for line in await lines(store)] == ["one?"]
    assert await store.transcript("webchat", "main", Peer("dm", "mallory"), limit=9) == []
