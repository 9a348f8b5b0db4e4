"""The token stands in every URL. It must stand nowhere else, whatever goes wrong."""

import logging
import traceback

import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.model.errors import GatewayError
from gatewayd.model.message.envelope import Attachment, Peer
from gatewayd.model.message.payload import RichText, SendText, Span, Typing
from tests.channels.telegram.rig import rig_for
from tests.fakes.bot_api import FakeBotApi

CANARY = "AAcanary_canary_canary_canary"
TOKEN = f"424242:{CANARY}"
ECHO = b'{"ok":false,"error_code":400,"description":"Bad Request: no such path /bot' + TOKEN.encode() + b'/x"}'
PAYLOAD = SendText(Peer("group", "-4001"), RichText("x", (Span("bold", 0, 1),)))


async def provoke(api: FakeBotApi, fault: str) -> None:
    match fault:
        case "drop":
            api.drop_next("*", processed=False, times=None)
        case "hang":
            api.hang_next("*", times=None)
        case "garbage":
            api.garble_next("*", body=b"<html>" + TOKEN.encode(), times=None)
        case "echo":
            api.garble_next("*", status=400, body=ECHO, times=None)
        case "unauthorized":
            api.fail_next("*", 401, "Unauthorized", times=None)
        case "markup":
            api.fail_next("*", 400, "Bad Request: can't parse entities: x", times=None)
        case _:
            api.fail_next("*", 409, "Conflict: can't use getUpdates method while webhook is active", times=None)


@pytest.mark.parametrize("mode", ["poll", "webhook"])
@pytest.mark.parametrize("fault", ["drop", "hang", "garbage", "echo", "unauthorized", "markup", "conflict"])
async def test_no_error_and_no_log_line_has_it(
    mode: str, fault: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (None, "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    told: list[str] = []
    with capture_logs() as logs:
        async with FakeBotApi.serve(token=TOKEN) as api, rig_for(api, mode=mode) as rig:
            await provoke(api, fault)
            calls = (
                lambda: rig.channel.listen(rig.journal),
                lambda: rig.channel.send(PAYLOAD, key="k"),
                lambda: rig.channel.signal(Typing(PAYLOAD.peer)),
                lambda: rig.channel.fetch(Attachment("document", "x"), at_most_bytes=5),
            )
            for call in calls:
                try:
                    await call()
                except GatewayError as error:
                    told += [repr(error), *traceback.TracebackException.from_exception(error).format()]
            told += [repr(rig.account), repr(rig.channel), repr(rig.services.kept)]
    assert len(told) > 6
    # What somebody else logs of the traffic is not ours: the fake serves in this process.
    told += [str(logs), *(record.getMessage() for record in caplog.records if not record.name.startswith("tests."))]
    assert CANARY not in "".join(told)
