"""The tokens stand in headers, the ticket of a connection in its address. They stand nowhere else, whatever goes wrong."""

import logging
import traceback
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.model.errors import GatewayError
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import EditText, RichText, SendFile, SendText, Typing
from gatewayd.model.secret import Secret
from tests.channels.slack.rig import now, rig_for
from tests.fakes.slack_platform import FakeSlack, Json

SECRETS = (FakeSlack.bot_token, FakeSlack.app_token, FakeSlack.signing_secret)
ALL = " ".join(SECRETS)
TOLD: Json = {"response_metadata": {"messages": [ALL]}, "needed": FakeSlack.bot_token.lower(), "provided": ALL}
GROUP = Peer("group", "C0000000001", "1.000100")
HELLO = SendText(GROUP, RichText("hello"))
FAULTS: dict[str, Callable[[FakeSlack], None]] = {
    "drop": lambda slack: slack.fault("drop_after", "*", times=None),
    "hang": lambda slack: slack.fault("hang", "*", times=None),
    "garbage": lambda slack: slack.break_with("*", 200, body=ALL.encode(), times=None),
    "page": lambda slack: slack.break_with("*", 502, body=f"<html>{ALL}".encode(), times=None),
    "name": lambda slack: slack.refuse("*", FakeSlack.bot_token, fields=TOLD, times=None),
    "scope": lambda slack: slack.refuse("*", "missing_scope", fields=TOLD, times=None),
    "revoked": lambda slack: slack.refuse("*", "token_revoked", fields=TOLD, times=None),
    "redirect": lambda slack: slack.redirect("*", f"http://127.0.0.1:1/{FakeSlack.bot_token}", times=None),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_error_and_no_log_line_has_one(fault: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    for name in (None, "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    told: list[str] = []
    envelope = InboundEnvelope("slack", "main", "k", "message", GROUP, Sender("U1"))
    with capture_logs() as logs:
        async with FakeSlack.serve(now=now) as slack, rig_for(slack, signing_secret=Secret(FakeSlack.signing_secret)) as rig:
            rig.services.files["n"] = b"12345"
            FAULTS[fault](slack)
            calls = (
                lambda: rig.channel.listen(rig.journal),
                lambda: rig.channel.send(HELLO, key="k"),
                lambda: rig.channel.send(EditText(GROUP, RichText("x"), of=1, message_id="C0000000001:1.000100"), key="k"),
                lambda: rig.channel.send(SendFile(GROUP, "n", "report.txt", 5), key="k"),
                lambda: rig.channel.find_sent(HELLO, key="k", since=0),
                lambda: rig.channel.fetch(Attachment("document", "F1"), at_most_bytes=5),
                lambda: rig.channel.earlier(envelope, at_most=3),
                lambda: rig.channel.signal(Typing(GROUP)),
            )
            for call in calls:
                try:
                    await call()
                except GatewayError as error:
                    told += [repr(error), *traceback.TracebackException.from_exception(error).format()]
            told += [repr(rig.channel), repr(rig.services.kept), repr(rig.services.lacking), repr(rig.services.interruptions)]
            slack.violations.clear()
    assert len(told) > 12
    # What somebody else logs of the traffic is not ours: the fake serves in this process.
    told += [str(logs), *(record.getMessage() for record in caplog.records if not record.name.startswith("tests."))]
    assert [secret for secret in SECRETS if secret in "".join(told)] == []
