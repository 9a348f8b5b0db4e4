import pytest
import trio
from trio.testing import MockClock

from gatewayd.kit.repeat import ATTEMPTS
from gatewayd.kit.text import compose
from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import Attachment, Peer
from gatewayd.model.message.payload import Draft, EditText, Receipt, RichText, SendText, Span, Typing
from gatewayd.ports.channel import TextLimit
from tests.channels.telegram.rig import Rig, rig_for
from tests.fakes.bot_api import FakeBotApi, make_supergroup

ALICE = Peer("dm", "4711")
FORUM = -1001234567890
BOLD = RichText("a & b", (Span("bold", 0, 1),))


async def send(rig: Rig, text: str | RichText = "hello", peer: Peer = ALICE, reply_to: str | None = None) -> Receipt:
    return await rig.channel.send(SendText(peer, RichText(text) if isinstance(text, str) else text, reply_to=reply_to), key="k")


async def test_what_is_sent_word_for_word(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        question = api.user_sends(make_supergroup(FORUM, forum=True), "?", thread=77)["message"]["message_id"]
        receipt = await send(rig, BOLD, Peer("group", str(FORUM), "77"), reply_to=str(question))
        assert api.calls("sendMessage") == [
            {
                "chat_id": FORUM,
                "text": "<b>a</b> &amp; b",
                "parse_mode": "HTML",
                "message_thread_id": 77,
                "reply_parameters": {"message_id": question, "allow_sending_without_reply": True},
                "link_preview_options": {"is_disabled": True},
            }
        ]
        sent = api.chat(FORUM).visible(77)[-1]
        assert receipt == Receipt(str(sent["message_id"]))
        assert sent["entities"] == [{"type": "bold", "offset": 0, "length": 1}]


async def test_link_previews_can_be_had(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api, link_previews=True) as rig:
        api.add_chat(4711)
        await send(rig)
        assert "link_preview_options" not in api.calls("sendMessage")[0]


async def test_a_reply_to_a_deleted_message_arrives_all_the_same(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(4711)
        await send(rig, reply_to="999999")
        assert api.texts(4711) == ["hello"]


async def test_a_long_reply_with_every_format_arrives_whole(autojump_clock: MockClock) -> None:
    markdown = "# Head\n\n" + "Some **bold *and italic* words** with `code` & <tags> 😀 [link](https://e.org/?a=1&b=2).\n" * 150
    markdown += "\n```python\n" + "value = 1 < 2\n" * 400 + "```\n> quoted\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(4711)
        for piece in compose(markdown, text_format="rich", text_limit=TextLimit(4096, "utf16")):
            await send(rig, piece)
        texts = api.texts(4711)
        assert len(texts) == 4
        [whole] = compose(markdown, text_format="plain", text_limit=None)
        assert "".join("".join(texts).split()) == "".join(whole.text.replace(" (https://e.org/?a=1&b=2)", "").split())
        assert all(call["parse_mode"] == "HTML" for call in api.calls("sendMessage"))


async def test_markup_that_cannot_be_parsed_is_given_up_once(autojump_clock: MockClock) -> None:
    words = "Bad Request: can't parse entities: Unclosed start tag at byte offset 3"
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(4711)
        api.fail_next("sendMessage", 400, words)
        await send(rig, BOLD)
        assert api.texts(4711) == ["a & b"]
        assert [call.get("parse_mode") for call in api.calls("sendMessage")] == ["HTML", None]
        api.fail_next("sendMessage", 400, words, times=2)
        with pytest.raises(SendRejected, match=r"^markup"):
            await send(rig, BOLD)
        assert len(api.calls("sendMessage")) == 4


async def test_a_group_that_became_a_supergroup_is_found_and_remembered(autojump_clock: MockClock) -> None:
    family = Peer("group", "-4001")
    async with FakeBotApi.serve() as api:
        async with rig_for(api) as rig:
            api.add_chat(-4001)
            await send(rig, "before", family)
            api.group_upgrades(-4001, -1005555)
            await send(rig, BOLD, family)
            await send(rig, "again", family)
            await rig.channel.signal(Typing(family))
        async with rig_for(api, kept=rig.services.kept) as rig:
            await send(rig, "after a restart", family)
        assert api.texts(-1005555) == ["a & b", "again", "after a restart"]
        assert [call["chat_id"] for call in api.calls("sendMessage")] == [-4001, -4001, -1005555, -1005555, -1005555]
        assert api.calls("sendChatAction")[0]["chat_id"] == -1005555


@pytest.mark.parametrize(
    ("code", "description", "parameters", "kind", "words"),
    [
        (403, "Forbidden: bot was blocked by the user", None, SendRejected, "blocked"),
        (400, "Bad Request: message is too long", None, SendRejected, "too long"),
        (401, "Unauthorized", None, NeedsOperator, "does not accept the token"),
        (429, "Too Many Requests: retry after 149", {"retry_after": 149}, TryAgain, "rate limit"),
        (500, "Internal Server Error", None, TryAgain, "Telegram failed"),
        (502, "Bad Gateway", None, OutcomeUnknown, "a proxy got no answer"),
        (400, "Bad Request: group chat was upgraded to a supergroup chat", None, SendRejected, "migrated"),
    ],
)
async def test_an_error_answer_raises_the_error_of_its_kind(
    code: int,
    description: str,
    parameters: dict[str, int] | None,
    kind: type[GatewayError],
    words: str,
    autojump_clock: MockClock,
) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(4711)
        api.fail_next("sendMessage", code, description, parameters=parameters)
        with pytest.raises(kind, match=words) as caught:
            await send(rig)
        assert len(api.calls("sendMessage")) == 1
        if isinstance(caught.value, TryAgain) and code == 429:
            assert (caught.value.after_seconds, caught.value.scope) == (149.0, "conversation")


@pytest.mark.parametrize("processed", [True, False])
async def test_a_cut_connection_is_of_unknown_outcome(processed: bool, autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.add_chat(4711)
        api.drop_next("sendMessage", processed=processed)
        with pytest.raises(OutcomeUnknown, match="may or may not"):
            await send(rig)
        assert api.texts(4711) == (["hello"] if processed else [])


async def test_no_answer_in_time_is_of_unknown_outcome(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api, request_timeout_seconds=7) as rig:
        api.hang_next("sendMessage")
        began = trio.current_time()
        with pytest.raises(OutcomeUnknown, match="no answer in time"):
            await send(rig)
        assert trio.current_time() - began == pytest.approx(7, abs=0.5)


async def test_nobody_there_is_surely_not_sent(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api:
        pass
    async with rig_for(api) as rig:
        with pytest.raises(TryAgain, match="Telegram sendMessage: cannot connect"):
            await send(rig)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"ok":true}', b"<html>", b'{"ok":true,"result":{"message_id":"?"}}'])
async def test_an_answer_that_is_none_is_of_unknown_outcome_unless_it_says_ok(body: bytes, autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.garble_next("sendMessage", status=200, body=body)
        if b'"ok":true' in body:
            assert await send(rig) == Receipt()
        else:
            with pytest.raises(OutcomeUnknown, match="not an answer of the Bot API"):
                await send(rig)


async def test_typing_is_shown_and_its_failures_are_nobodys_concern(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.user_sends(make_supergroup(FORUM, forum=True), "?", thread=77)
        await rig.channel.signal(Typing(Peer("group", str(FORUM), "77")))
        await rig.channel.signal(Typing(Peer("channel", "-100777")))
        assert api.calls("sendChatAction") == [{"chat_id": FORUM, "action": "typing", "message_thread_id": 77}]
        api.fail_next("sendChatAction", 403, "Forbidden: bot was blocked by the user")
        await rig.channel.signal(Typing(ALICE))
        api.hang_next("sendChatAction")
        began = trio.current_time()
        await rig.channel.signal(Typing(ALICE))
        assert trio.current_time() - began < 5


async def test_a_reply_is_shown_while_it_is_written_once_a_second(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.user_sends(4711, "?")
        began = trio.current_time()
        for text in ("one", "one **two**", "one **two** " + "word " * 2000):
            await rig.channel.signal(Draft(ALICE, "turn-1", text))
        assert trio.current_time() - began == pytest.approx(2, abs=0.1)
        first, second, third = api.calls("sendMessageDraft")
        assert (first["chat_id"], first["text"]) == (4711, "one")
        assert (second["text"], second["parse_mode"]) == ("one <b>two</b>", "HTML")
        assert third["text"].endswith("word")
        assert len(third["text"]) <= 4096
        assert first["draft_id"] == third["draft_id"] > 0


async def test_a_reply_grows_by_edits_where_there_are_no_drafts(autojump_clock: MockClock) -> None:
    group = Peer("group", str(FORUM))
    async with FakeBotApi.serve() as api, rig_for(api) as rig, rig_for(api, drafts=False) as without:
        api.user_sends(make_supergroup(FORUM), "?")
        assert [rig.channel.grows_every(peer) for peer in (ALICE, group)] == [None, 3.0]
        assert without.channel.grows_every(ALICE) == 1.0
        receipt = await rig.channel.send(SendText(group, RichText("so"), grows=True), key="k")
        assert receipt.message_id is not None
        await rig.channel.grow(group, receipt.message_id, RichText("so far"), key="k")
        assert api.texts(FORUM) == ["so far"]
        api.fail_next("editMessageText", 429, "Too Many Requests: retry after 40", parameters={"retry_after": 40})
        with pytest.raises(TryAgain) as caught:
            await rig.channel.grow(group, receipt.message_id, RichText("so far, so good"), key="k")
        assert (caught.value.after_seconds, caught.value.scope) == (40, "conversation")
        await rig.channel.send(EditText(group, RichText("so far, so good"), of=1, message_id=receipt.message_id), key="l")
        assert api.texts(FORUM) == ["so far, so good"]


async def test_drafts_are_for_private_chats_and_pause_after_an_error(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.user_sends(4711, "?")
        await rig.channel.signal(Draft(Peer("group", str(FORUM)), "turn-1", "so far"))
        await rig.channel.signal(Draft(ALICE, "turn-1", "  "))
        assert api.calls("sendMessageDraft") == []
        api.fail_next("sendMessageDraft", 429, "Too Many Requests: retry after 40", parameters={"retry_after": 40})
        await rig.channel.signal(Draft(ALICE, "turn-1", "a"))
        await rig.channel.signal(Draft(ALICE, "turn-1", "b"))
        assert len(api.calls("sendMessageDraft")) == 1
        await trio.sleep(41)
        api.fail_next("sendMessageDraft", 404, "Not Found: method not found")
        await rig.channel.signal(Draft(ALICE, "turn-1", "c"))
        await trio.sleep(3600)
        await rig.channel.signal(Draft(ALICE, "turn-2", "d"))
        assert len(api.calls("sendMessageDraft")) == 2


async def document(api: FakeBotApi, content: bytes) -> Attachment:
    update = api.user_sends_document(4711, "a.txt", content)
    file = update["message"]["document"]
    return Attachment("document", file["file_id"], size_bytes=file["file_size"])


async def test_a_file_is_fetched(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        file = await document(api, b"content" * 100)
        assert await rig.channel.fetch(file, at_most_bytes=700) == b"content" * 100


async def test_a_file_that_is_too_large_is_not_fetched(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig, rig_for(api, max_attachment_bytes=699) as strict:
        file = await document(api, b"content" * 100)
        with pytest.raises(SendRejected, match="too large: 700 bytes, at most 699"):
            await rig.channel.fetch(file, at_most_bytes=699)
        assert api.calls("getFile") == []
        unsized = Attachment(file.kind, file.ref)
        with pytest.raises(SendRejected, match="too large: 700 bytes, at most 699"):
            await strict.channel.fetch(unsized, at_most_bytes=10**9)
        api.garble_next("getFile", status=200, body=b'{"ok":true,"result":{"file_path":"documents/file_0.bin"}}')
        with pytest.raises(SendRejected, match=r"too large|gone"):
            await rig.channel.fetch(unsized, at_most_bytes=5)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (b'{"ok":true,"result":{"file_path":"/var/lib/bot/x"}}', "--local"),
        (b'{"ok":true,"result":{}}', "--local"),
        (b'{"ok":true,"result":{"file_path":"documents/none"}}', "^gone"),
        (b'{"ok":false,"error_code":400,"description":"Bad Request: file is too big"}', "^too large"),
        (
            b'{"ok":false,"error_code":400,"description":"Bad Request: wrong file_id or the file is temporarily unavailable"}',
            "^gone",
        ),
    ],
)
async def test_a_file_that_is_not_to_be_had(result: bytes, words: str, autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.garble_next("getFile", status=200 if b'"ok":true' in result else 400, body=result)
        with pytest.raises(SendRejected, match=words):
            await rig.channel.fetch(Attachment("document", "x"), at_most_bytes=100)


async def test_an_outage_while_fetching_is_tried_again(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        api.fail_next("getFile", 500, "Internal Server Error", times=ATTEMPTS)
        with pytest.raises(TryAgain):
            await rig.channel.fetch(Attachment("document", "x"), at_most_bytes=100)


async def test_a_rate_limit_of_two_chats_at_the_same_time_is_the_bots(autojump_clock: MockClock) -> None:
    async with FakeBotApi.serve() as api, rig_for(api) as rig:
        scopes: list[str] = []

        async def limited(chat: int) -> None:
            api.fail_next("sendMessage", 429, "Too Many Requests: retry after 5", parameters={"retry_after": 5})
            with pytest.raises(TryAgain) as caught:
                await rig.channel.send(SendText(Peer("dm", str(chat)), RichText("hello")), key="k")
            scopes.append(caught.value.scope)

        for chat in (1, 2):
            api.add_chat(chat)
        await limited(1)
        await limited(1)
        await limited(2)
        await trio.sleep(6)
        await limited(1)
        assert scopes == ["conversation", "conversation", "sends", "conversation"]
