"""No update vanishes: all fields of a Message and of an Update that a client library knows, whatever of them we read."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gatewayd.channels.telegram.receiving.content import ABOUT, LINES, SERVICE
from gatewayd.channels.telegram.wire import ALLOWED_UPDATES, Message
from gatewayd.model.message.envelope import InboundEnvelope
from tests.channels.telegram.receiving.test_inbound import message, read
from tests.fakes import bot_api

pytestmark = pytest.mark.slow  # the client library takes seconds to import
CLIENT_SCRIPT = Path(bot_api.__file__).parents[1] / "aiogram_client.py"
FILES = {"photo", "document", "voice", "audio", "video", "video_note", "animation", "sticker", "live_photo"}
READ = set(Message.__struct_encode_fields__) - LINES.keys() - FILES - SERVICE

Samples = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def samples() -> Samples:
    script = [sys.executable, str(CLIENT_SCRIPT), "--samples"]
    found: Samples = json.loads(subprocess.run(script, check=True, capture_output=True).stdout)
    return found


def sent(**fields: Any) -> InboundEnvelope:
    envelope = message(**fields)
    assert envelope is not None
    return envelope


def test_each_field_of_a_message_has_its_place(samples: Samples) -> None:
    known = samples["Message"].keys()
    assert len(known) > 100
    assert known <= READ | FILES | LINES.keys() | SERVICE | ABOUT
    assert not FILES & LINES.keys() | LINES.keys() & SERVICE | SERVICE & ABOUT | ABOUT & READ | FILES & ABOUT


def test_what_a_person_sends_reaches_the_agent_in_a_line_or_as_a_file(samples: Samples) -> None:
    for kind, value in samples["Message"].items():
        if kind in FILES:
            envelope = sent(**{kind: value})
            assert (envelope.kind, len(envelope.attachments), envelope.text) == ("message", 1, ""), kind
        if kind in LINES and kind != "rich_message":  # which is a text, if it has one
            envelope = sent(**{kind: value})
            assert (envelope.kind, envelope.described) == ("message", True), kind
            assert re.fullmatch(r"\[[^<>{}]+\]", envelope.text), envelope.text
            assert len(re.findall(r"word|XTR|\b7(?:\.5)?\b", envelope.text)) == LINES[kind].count("<"), envelope.text


def test_news_of_the_platform_is_kept_and_reaches_nobody(samples: Samples) -> None:
    for kind, value in samples["Message"].items():
        if kind in SERVICE:
            envelope = sent(**{kind: value})
            assert (envelope.kind, envelope.text) == ("service", f"[service message: {kind}]")


def test_what_is_said_about_a_message_changes_no_text(samples: Samples) -> None:
    for kind, value in samples["Message"].items():
        if kind in ABOUT:
            assert sent(text="hello", **{kind: value}) == sent(text="hello"), kind
            assert sent(**{kind: value}).text == "[empty message]"


def test_each_kind_of_update_that_is_asked_for_becomes_a_row(samples: Samples) -> None:
    kinds = samples["Update"].keys() - {"update_id"}
    assert set(ALLOWED_UPDATES) < kinds
    assert {kind for kind in kinds if read({kind: samples["Update"][kind]}) is not None} == set(ALLOWED_UPDATES)
