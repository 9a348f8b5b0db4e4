"""Files in both directions, judged by a Slack that others have built (npm, emulate)."""

from pathlib import Path

import pytest

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.files import Files
from gatewayd.channels.slack.sending.places import MessageId, Places
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.kit.http import create_client
from gatewayd.kit.text.markdown import render
from gatewayd.model.errors import SendRejected
from gatewayd.model.message.envelope import Attachment, Peer
from gatewayd.model.message.payload import SendFile
from gatewayd.model.secret import Secret
from gatewayd.testing.channel_contract import Services
from tests.channels.slack.judges.test_emulate import GENERAL, emulate
from tests.fakes.slack_platform import Json

pytestmark = pytest.mark.slow


async def test_a_slack_that_others_built_takes_our_files_and_gives_them_out(tmp_path: Path) -> None:
    async with emulate(tmp_path) as url, create_client() as http:
        # It calls itself localhost in the addresses that it gives out.
        settings = SlackSettings(bot_token=Secret("xoxb-a-token-of-emulate"), api_base=url.replace("127.0.0.1", "localhost"))
        api = SlackApi(http, settings)
        services = Services(http)
        services.files["n"] = bytes(range(256)) * 300
        files = Files(api, services, Places(api), at_most_bytes=1_000_000)

        async def newest(channel: str, thread: str | None) -> Json:
            params = {"channel": channel} if thread is None else {"channel": channel, "ts": thread}
            method = "conversations.history" if thread is None else "conversations.replies"
            messages = (await api.ask(method, params, dict, purpose="fetch"))["messages"]
            found: Json = messages[0 if thread is None else -1]
            return found

        thread: str | None = None
        for caption in ("the **report**", ""):
            payload = SendFile(Peer("group", GENERAL.id, thread), "n", "Bericht ä.bin", 76_800, caption=render(caption))
            receipt = await files.send(payload, key="k1")
            message = MessageId.parse(receipt.message_id)
            assert message is not None
            shown = await newest(GENERAL.id, thread)
            assert (shown["ts"], shown.get("thread_ts")) == (message.ts, thread)
            [file] = shown["files"]
            assert await files.fetch(Attachment("document", file["id"]), at_most_bytes=100_000) == services.files["n"]
            with pytest.raises(SendRejected, match="too large"):
                await files.fetch(Attachment("document", file["id"]), at_most_bytes=1000)
            assert await files.find_sent(payload, key="k1", since=0) == receipt
            thread = message.ts

        another_life = Files(api, services, Places(api), at_most_bytes=1_000_000)
        assert await another_life.find_sent(payload, key="k1", since=0) == receipt
        assert await another_life.find_sent(payload, key="never", since=0) is None
        with pytest.raises(SendRejected, match="file_not_found"):
            await files.fetch(Attachment("document", "F0NONE"), at_most_bytes=1000)
        with pytest.raises(SendRejected, match="channel_not_found"):
            await files.send(SendFile(Peer("group", "C0NOWHERE"), "n", "a", 76_800), key="k3")
