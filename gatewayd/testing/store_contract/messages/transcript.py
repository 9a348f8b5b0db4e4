"""What was said in one conversation."""

from gatewayd.model.message.envelope import InboundEnvelope, InboundKind, Peer, Sender
from gatewayd.model.message.payload import Choice, EditText, RichText, SendText
from gatewayd.ports.store import OutboundDraft, Store, TranscriptRow
from gatewayd.testing.store_contract.rows import text_of

ALICE = Peer("dm", "alice")


QUESTION = SendText(ALICE, RichText("Really?"), choices=((Choice("Yes", "q:1:yes"), Choice("No", "q:1:no")),))


TRICKY = 'a text with "kind":"button" and {"type":"edit_text" in it, and \\"kind\\":\\"button\\", too'


def message(text: str, kind: InboundKind = "message") -> InboundEnvelope:
    return InboundEnvelope("webchat", "main", f"{text}{kind}", kind, ALICE, Sender("alice"), text=text, received_at=1.0)


async def hear(store: Store, text: str, kind: InboundKind = "message") -> None:
    await store.add_inbound([message(text, kind)])


async def send(store: Store, payload: SendText | EditText, now: float = 2.0) -> int:
    [row] = await store.add_outbound([OutboundDraft("webchat", "main", "c", payload)], now=now)
    return row.id


async def edit(store: Store, of: int, text: str, peer: Peer = ALICE) -> int:
    return await send(store, EditText(peer, RichText(text), of=of), now=3.0)


async def texts(store: Store, limit: int = 10) -> list[str]:
    return [text_of(row) for row in await store.transcript("webchat", "main", ALICE, limit=limit)]


class TranscriptContract:
    async def test_all_of_a_row_is_told(self, store: Store) -> None:
        await hear(store, "do it")
        row = await send(store, QUESTION)
        number = await edit(store, row, "Done.")
        heard, asked, edited = await store.transcript("webchat", "main", ALICE, limit=10)
        assert (heard.at, heard.state, heard.content) == (1.0, "received", message("do it"))
        assert asked == TranscriptRow(row, 2.0, "ready", QUESTION)
        assert edited == TranscriptRow(number, 3.0, "ready", EditText(ALICE, RichText("Done."), of=row))

    async def test_an_edit_that_was_given_up_is_not_told(self, store: Store) -> None:
        row = await send(store, QUESTION)
        number = await edit(store, row, "one: yes")
        await store.mark_sending(number)
        await store.settle_outbound(number, "dead", now=4.0, reason="message gone")
        assert await texts(store) == ["Really?"]

    async def test_edits_and_what_is_no_text_take_no_place_among_the_newest(self, store: Store) -> None:
        row = await send(store, QUESTION)
        for number in range(5):
            await hear(store, f"q:1:{number}", "button")
            await hear(store, f"+{number}", "reaction")
            await hear(store, f"-{number}", "deleted")
            await edit(store, row, f"edit {number}")
        edits = [f"edit {number}" for number in range(5)]
        assert await texts(store, 1) == ["Really?", *edits]
        await send(store, SendText(ALICE, RichText("later")), now=9.0)
        assert await texts(store, 2) == ["Really?", *edits, "later"]
        assert await texts(store, 1) == ["later"], "edits of what is older than the first reply are not told"

    async def test_what_a_text_says_makes_it_no_press_and_no_edit(self, store: Store) -> None:
        await hear(store, TRICKY)
        await send(store, SendText(ALICE, RichText(TRICKY)))
        assert await texts(store) == [TRICKY, TRICKY]
