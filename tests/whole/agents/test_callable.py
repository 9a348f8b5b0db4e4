"""A user's own Python agent behind a real channel."""

from pathlib import Path

import trio

from gatewayd.hub.turns.outcome import SORRY_FAILED
from tests.fakes.bot_api import FakeBotApi
from tests.whole.process import daemon
from tests.whole.test_telegram import ALICE, configuration

AGENT = 'core = "callable"\nobject = "tests.whole.scripted.reader:read_files"'


async def test_it_reads_a_file_that_was_sent_and_refuses_one_that_is_too_large(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with FakeBotApi.serve() as api, daemon(tmp_path, configuration(api, tmp_path, agent=AGENT)) as gateway:
            api.user_sends_document(ALICE, "notes.txt", b"buy milk")
            assert await api.wait_texts(ALICE, 1) == ["notes.txt: buy milk"]
            api.user_sends_document(ALICE, "large.txt", b"x" * 2000)
            assert (await api.wait_texts(ALICE, 2))[1] == SORRY_FAILED
            [agent] = (await gateway.status()).agents
            assert "too large" in (agent.last_error or "")
