"""What we send, judged by the types of Slack's own SDK (npm, @slack/web-api and @slack/types): each request has the arguments of
its method, and each block the fields of its kind, and no others."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from gatewayd.channels.slack import PLUGIN
from gatewayd.channels.slack.files import LATEST_SECONDS
from gatewayd.channels.slack.sending.render import blocks_of, text_of, wire_size
from gatewayd.kit.text import compose
from gatewayd.kit.text.markdown import render
from gatewayd.model.errors import OutcomeUnknown
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, PressAnswer, SendFile, SendText, Typing
from tests.channels.slack.judges.installed import check_values
from tests.channels.slack.rig import rig_for as whole_account
from tests.channels.slack.sending.rig import Rig, now, sending
from tests.fakes.slack_platform import FakeSlack, Json
from tests.fakes.slack_platform.server import Call
from tests.kit.text.texts import wild_texts

pytestmark = pytest.mark.slow

TYPES = {
    "assistant.threads.setStatus": "AssistantThreadsSetStatusArguments",
    "chat.appendStream": "ChatAppendStreamArguments",
    "chat.postEphemeral": "ChatPostEphemeralArguments",
    "chat.postMessage": "ChatPostMessageArguments",
    "chat.startStream": "ChatStartStreamArguments",
    "chat.stopStream": "ChatStopStreamArguments",
    "chat.update": "ChatUpdateArguments",
    "conversations.history": "ConversationsHistoryArguments",
    "conversations.open": "ConversationsOpenArguments",
    "conversations.replies": "ConversationsRepliesArguments",
}
EVERYTHING = """# Head

**bold** _italic_ ~~strike~~ ***both*** `code` **`bold code`** [**link**](https://e.org/?a=1&b=2) https://e.org <mailto:a@e.org>

> quoted **bold** [l](https://e.org)

```py
x < 1
```

- a
- b

| a | b |
|---|---|
| 1 | 2 |
"""
CHOICES = (tuple(Choice(f"Choice {at}", f"qu:1:{at}") for at in range(12)), (Choice("No", "qu:1:no"),))
NO_TEXT = ("limit", "length", "inclusive", "include_all_metadata", "exclude_archived")
ACCOUNT_TYPES = {
    "apps.connections.open": "AppsConnectionsOpenArguments",
    "auth.test": "AuthTestArguments",
    "bots.info": "BotsInfoArguments",
    "chat.postMessage": "ChatPostMessageArguments",
    "conversations.history": "ConversationsHistoryArguments",
    "conversations.open": "ConversationsOpenArguments",
    "conversations.replies": "ConversationsRepliesArguments",
    "files.completeUploadExternal": "FilesCompleteUploadExternalArguments",
    "files.delete": "FilesDeleteArguments",
    "files.getUploadURLExternal": "FilesGetUploadURLExternalArguments",
    "files.info": "FilesInfoArguments",
    "users.conversations": "UsersConversationsArguments",
    "users.info": "UsersInfoArguments",
}
WRONG = {"channel": "C1", "blocks": [{"type": "rich_text", "elements": [{"type": "rich_text_section", "words": []}]}]}


async def send_every_shape(rig: Rig) -> None:
    await rig.send(EVERYTHING, choices=CHOICES)
    await rig.send("plain", rig.peer)
    await rig.send("direct", rig.direct)
    await rig.send("for one", only_for=rig.alice)
    await rig.send(EVERYTHING, choices=CHOICES, answer_with=rig.command_url())
    rig.slack.refuse("chat.postMessage", "invalid_blocks")
    edited = await rig.send("**words**", choices=CHOICES, instead="Write /answer")
    await rig.edit(edited, EVERYTHING, choices=CHOICES)
    rig.slack.refuse("chat.update", "invalid_blocks")
    await rig.edit(edited, "words")
    grown = await rig.send("A reply that grows and grows", grows=True, reply_to=rig.reply_to)
    await rig.grow(grown, "A reply that grows and grows and **grows** and grows")
    await rig.edit(grown, "The end")
    await rig.sender.signal(Typing(rig.thread))
    await rig.sender.signal(PressAnswer(rig.thread, f"{rig.alice}:1", "no"))
    since = now()
    rig.slack.fault("drop_after", "chat.postMessage")
    with pytest.raises(OutcomeUnknown):
        await rig.send()
    await trio.sleep(5)
    for peer in (rig.thread, rig.peer):
        await rig.sender.find_sent(SendText(peer, render("hello")), key="k", since=since)


async def use_a_whole_account(slack: FakeSlack) -> None:
    """Connect, miss a mention in a thread, come back, read it, send files, and lose one."""
    alice = slack.add_user("alice")
    general = slack.add_channel("general", [alice])
    async with whole_account(slack) as rig, rig.listening():
        root = slack.say(alice, general, f"<@{slack.bot_user}> hello")
        await rig.journal.wait_text("hello")
    slack.drop_events()
    slack.say(alice, general, "missed", thread=root, files=[slack.file(alice, "a.txt", b"1234")])
    slack.drop_events(dropping=False)
    async with whole_account(slack, kept=rig.services.kept) as rig, rig.listening():
        envelope = await rig.journal.wait_text("missed")
        await rig.channel.fetch(envelope.attachments[0], at_most_bytes=10)
        await rig.channel.earlier(envelope, at_most=3)
        rig.services.files["n"] = b"12345"
        for peer in (envelope.peer, Peer("dm", alice)):
            await rig.channel.send(SendFile(peer, "n", "report.txt", 5, caption=render("the **report**")), key="k1")
        await rig.channel.send(SendText(envelope.peer, render("done")), key="k2")
        slack.refuse("files.completeUploadExternal", "internal_error")
        since, lost = now(), SendFile(envelope.peer, "n", "report.txt", 5)
        with pytest.raises(OutcomeUnknown):
            await rig.channel.send(lost, key="k3")
        await trio.sleep(LATEST_SECONDS)
        assert await rig.channel.find_sent(lost, key="k3", since=since) is None


def arguments(call: Call) -> Json:
    """What was sent. In a form, numbers and truth are text."""
    is_json = call.method.startswith(("chat.", "assistant."))
    return call.params if is_json else {key: read(it) if key in NO_TEXT else it for key, it in call.params.items()}


def read(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


def as_message(answer: Json) -> Json:
    """What a response_url was sent: the arguments of chat.postMessage without a channel, and some of its own."""
    own = ("response_type", "replace_original")
    return {"channel": "C1", **{key: value for key, value in answer.items() if key not in own}}


async def check(folder: Path, name: str, requests: list[tuple[str, dict[str, Any]]]) -> str:
    """What the compiler says of these requests, as values of their types."""
    types = {**TYPES, **ACCOUNT_TYPES}
    return await check_values(folder, name, [(types[method], values) for method, values in requests])


async def test_each_request_has_the_type_of_its_method(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with sending(streaming=True) as rig:
        await send_every_shape(rig)
        requests = [(call.method, arguments(call)) for call in rig.slack.log]
        requests += [("chat.postMessage", as_message(answer)) for answer in rig.slack.answers(rig.general)]
    assert {method for method, _ in requests} == TYPES.keys()
    autojump_clock.autojump_threshold = float("inf")
    assert await check(tmp_path, "sent.ts", requests) == ""


async def test_each_request_of_a_whole_account_has_the_type_of_its_method(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with FakeSlack.serve(now=now) as slack:
        await use_a_whole_account(slack)
        requests = [(call.method, arguments(call)) for call in slack.log]
    assert {method for method, _ in requests} == ACCOUNT_TYPES.keys()
    autojump_clock.autojump_threshold = float("inf")
    assert await check(tmp_path, "account.ts", requests) == ""


@given(texts_in_bulk=st.lists(wild_texts, min_size=40, max_size=40))
@settings(max_examples=2, suppress_health_check=list(HealthCheck))
def test_any_reply_has_blocks_of_their_types(tmp_path_factory: pytest.TempPathFactory, texts_in_bulk: list[str]) -> None:
    pieces = [
        piece
        for text in texts_in_bulk
        for piece in compose(text, text_format="rich", text_limit=PLUGIN.text_limit, wire_size=wire_size)
    ]
    requests = [("chat.postMessage", {"channel": "C1", "text": text_of(it), "blocks": blocks_of(it)}) for it in pieces]
    assert trio.run(check, tmp_path_factory.mktemp("texts"), "texts.ts", requests) == ""


async def test_the_judge_refuses_what_is_wrong(tmp_path: Path) -> None:
    said = await check(tmp_path, "wrong.ts", [("chat.postMessage", WRONG)])
    assert "error TS" in said
    assert "rich_text_section" in said
