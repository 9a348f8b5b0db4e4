"""What the fake Discord splits and reads comes out as it went in, whatever it is."""

import httpx2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.bot_api.http_server import Request
from tests.fakes.discord_platform import FakeDiscord
from tests.fakes.discord_platform.rest.bodies import read_body
from tests.fakes.discord_tests.bot import bot_of

pytestmark = pytest.mark.slow

SIZES = st.none() | st.integers(1, 80)


@given(st.lists(st.text(max_size=200), min_size=1, max_size=5), SIZES, SIZES, st.booleans())
def test_events_come_whole_in_pieces_and_fragments(
    texts: list[str], piece_bytes: int | None, fragment_bytes: int | None, compressed: bool
) -> None:
    async def run() -> list[str]:
        async with FakeDiscord.serve() as discord, bot_of(discord) as bot:
            discord.gateway.behave(piece_bytes=piece_bytes, fragment_bytes=fragment_bytes)
            line = await bot.identify(query="v=10&encoding=json" + "&compress=zlib-stream" * compressed)
            ada = discord.add_user("ada")
            dm = discord.dm(ada)
            for text in texts:
                discord.say(ada, dm, text)
            return [(await line.until("MESSAGE_CREATE"))["d"]["content"] for _ in texts]

    assert trio.run(run) == texts


NAMES = st.text(st.sampled_from("abc ü日.-_;="), max_size=20).map(lambda middle: f"a{middle}.txt")


@given(st.lists(st.tuples(NAMES, st.binary(max_size=300)), max_size=4), st.text(max_size=100))
def test_files_are_read_as_they_were_sent(files: list[tuple[str, bytes]], content: str) -> None:
    payload = httpx2.Request("POST", "http://x", json={"content": content}).content
    sent = httpx2.Request(
        "POST",
        "http://x",
        data={"payload_json": payload.decode()},
        files=[(f"files[{index}]", (name, data, "text/plain")) for index, (name, data) in enumerate(files)] or {"x": b""},
    )
    body = read_body(Request("POST", "/", "", {"content-type": sent.headers["content-type"]}, sent.read(), True))
    assert body.value == {"content": content}
    assert [(upload.filename, upload.content) for upload in body.uploads] == files
