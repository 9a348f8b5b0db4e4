"""What we send, judged by a Slack that others have built for the apps of others (npm, emulate): it takes our requests, shows what
was said, and gives our keys back."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.sending.outbound import Sender
from gatewayd.channels.slack.sending.places import MessageId
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.channels.slack.wire.answers import AuthTest
from gatewayd.kit.http import create_client
from gatewayd.kit.text.markdown import render
from gatewayd.model.errors import SendRejected
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, EditText, Receipt, SendText
from gatewayd.model.secret import Secret
from gatewayd.testing.channel_contract import Services
from tests.agents.real.installed import Project, free_port, serving
from tests.channels.slack.judges.installed import judges, node

pytestmark = pytest.mark.slow

GENERAL = Peer("group", "C000000001")
US = "U000000001"
SEED = """
slack:
  users:
    - name: gatebot
      real_name: Gate Bot
      email: bot@example.org
    - name: alice
      real_name: Alice
      email: alice@example.org
  tokens:
    - token: xoxb-a-token-of-emulate
      user: gatebot
"""
MARKDOWN = "# Head\n\n**bold** _it_ `x` <!channel> [l](https://e.org/?a=1&b=2)\n\n> q\n\n```py\nx < 1\n```\n\n- a\n- b"


@asynccontextmanager
async def emulate(folder: Path) -> AsyncIterator[str]:
    """A running emulate; the address of its Web API."""
    home, port, project = judges(), free_port(), Project(folder / "emulate", {"PATH": os.defpath, "HOME": str(folder)})
    project.directory.mkdir()
    (project.directory / "seed.yaml").write_text(SEED)
    program = home / "node_modules/emulate/dist/index.js"
    command = [str(node(home)), str(program), "--service", "slack", "--port", str(port), "--seed", "seed.yaml"]
    async with serving(command, project, {}, port, lambda output: "Ready." in output) as server:
        yield f"{server.url}/api"


async def test_a_slack_that_others_built_takes_what_we_send(tmp_path: Path) -> None:
    async with emulate(tmp_path) as url, create_client() as http:
        settings = SlackSettings(bot_token=Secret("xoxb-a-token-of-emulate"), api_base=url)
        services, api = Services(http), SlackApi(http, settings)
        sender = Sender(api, services, lambda: AuthTest("T000000001", US, ""), streaming=False, link_previews=False)

        async def said(peer: Peer = GENERAL) -> list[str]:
            params = {"channel": peer.id} if peer.thread is None else {"channel": peer.id, "ts": peer.thread}
            method = "conversations.history" if peer.thread is None else "conversations.replies"
            answer = await api.ask(method, params, dict, purpose="fetch")
            return [message["text"] for message in answer["messages"]]

        await api.ask("auth.test", {}, dict, purpose="own")
        body = render(
            "# Head\n\n**bold** _it_ `x` <!channel> [l](https://e.org/?a=1&b=2)\n\n> q\n\n```py\nx < 1\n```\n\n- a\n- b"
        )
        rows = ((Choice("Allow once", "ap:1:once"), Choice("Deny", "ap:1:deny")),)
        root = await sender.send(SendText(GENERAL, body, choices=rows, instead="Write /approve 1"), key="root")
        message = MessageId.parse(root.message_id)
        assert message is not None
        thread = Peer("group", GENERAL.id, message.ts)
        reply = await sender.send(SendText(thread, render("in the thread")), key="reply")
        assert reply == await sender.edit(EditText(thread, render("edited"), of=1, message_id=reply.message_id))
        assert reply == await sender.edit(EditText(thread, render("edited"), of=1, message_id=reply.message_id))
        assert len(await said()) == 1
        assert (await said(thread))[1:] == ["edited"]
        assert "&lt;!channel&gt;" in (await said())[0]

        since = services.now() - 60
        for peer, key, found in (
            (GENERAL, "root", root),
            (thread, "reply", reply),
            (GENERAL, "other", None),
            (thread, "other", None),
        ):
            assert await sender.find_sent(SendText(peer, body), key=key, since=since) == found

        people = (await api.ask("users.list", {}, dict, purpose="fetch"))["members"]
        alice = Peer("dm", next(person["id"] for person in people if person["name"] == "alice"))
        direct = await sender.send(SendText(alice, render("hello")), key="direct")
        assert await sender.find_sent(SendText(alice, body), key="direct", since=since) == direct
        assert await sender.send(SendText(GENERAL, render("for you"), only_for=US), key="only") == Receipt()
        with pytest.raises(SendRejected, match="message_not_found"):
            await sender.edit(EditText(GENERAL, body, of=1, message_id=f"{GENERAL.id}:1700000000.000001"))
        with pytest.raises(SendRejected, match="channel_not_found"):
            await sender.send(SendText(Peer("group", "C0NOWHERE"), body), key="nowhere")
