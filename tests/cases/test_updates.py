"""What people sent to bots: each file of the kind updates, from the Bot API through the driver and the hub to the agent.

``updates`` come without their numbers. ``config`` are keys of the account as TOML, beside those that let the senders in.
"""

import tomllib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import msgspec
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.agents import callable as core
from gatewayd.agents.callable import CallableSettings, CallableTurn
from gatewayd.channels import telegram
from gatewayd.channels.telegram.settings import TelegramSettings
from gatewayd.hub.gateway import Gateway
from gatewayd.kit.http import create_client
from gatewayd.model.config import AccountFrame, AccountSettings, AgentFrame, AgentSettings, GatewayConfig
from gatewayd.model.secret import Secret
from gatewayd.plugins import Registry
from gatewayd.ports.store import InboundRow
from gatewayd.stores.sqlite import run_inline
from gatewayd.wiring import build_gateway, run_hub
from tests.cases import cases
from tests.fakes.bot_api import FakeBotApi
from tests.hub.house import NoStalls
from tests.stores.opened_before import open_store

CASES = dict(cases("updates"))
LET_IN = 'dm_policy = "open", groups = ["-1001234567890"]'

Json = Mapping[str, Any]
_prompts: list[str] = []


async def reader(turn: CallableTurn) -> AsyncIterator[str]:
    """An agent that answers in its own words, so that each prompt is seen as it was."""
    _prompts.append(turn.prompt)
    yield f"read {len(turn.messages)}"


def settings_of(case: Json, api: FakeBotApi) -> GatewayConfig:
    keys = tomllib.loads(f"keys = {{ {LET_IN} }}\nown = {{ {case.get('config', '')} }}")
    frame = msgspec.convert(keys["keys"] | keys["own"], AccountFrame)
    own = TelegramSettings(token=Secret(api.token), api_base=api.url, poll_timeout_seconds=5)
    agent = AgentSettings("reader", AgentFrame(core="callable"), CallableSettings(f"{__name__}:reader"))
    return GatewayConfig(agents=(agent,), accounts=(AccountSettings("telegram", "main", frame, own),))


@asynccontextmanager
async def open_gateway(case: Json, api: FakeBotApi, state_dir: Path) -> AsyncIterator[Gateway]:
    def now() -> float:
        return 1_800_000_000.0 + trio.current_time()

    registry = Registry.of([telegram.PLUGIN], [core.PLUGIN])
    async with (
        open_store(state_dir, now=now, run_blocking=run_inline) as store,
        create_client() as http,
        anyio.create_task_group() as parent,
    ):
        config = settings_of(case, api)
        gateway = build_gateway(config, registry, store, http, state_dir=state_dir, now=now, rng=Random(1), stalls=NoStalls())
        gateway.enter("ready")
        async with run_hub(gateway, parent=parent):
            yield gateway


async def run(case: Json, state_dir: Path) -> list[InboundRow]:
    """The rows that the updates became, all of them ended. The prompts are in ``_prompts``."""
    _prompts.clear()
    async with FakeBotApi.serve() as api:
        for update in case["updates"]:
            for message in update.values():
                api.add_chat(message["chat"])
            api.add_update(update)
        async with open_gateway(case, api, state_dir) as gateway:
            await api.wait_delivered()
            return [await gateway.backlog.wait_ended(number) for number in range(1, len(case["updates"]) + 1)]


def messages_of(case: Json) -> list[Json]:
    return [message for update in case["updates"] for message in update.values()]


def answered(rows: Sequence[InboundRow]) -> list[bool]:
    return [row.state == "done" and row.reason == "answered" for row in rows]


@pytest.mark.parametrize("name", CASES)
async def test_every_update_is_a_row_that_says_what_became_of_it(name: str, tmp_path: Path, autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        rows = await run(CASES[name], tmp_path)
    assert [log for log in logs if log["event"] == "telegram_update_skipped"] == []
    for row, message in zip(rows, messages_of(CASES[name]), strict=True):
        assert row.state in ("done", "dropped")
        assert row.reason
        if row.envelope.kind == "service":
            assert row.reason == "service_message"
        elif "forward_origin" in message and row.state == "done":
            assert row.envelope.forwarded is not None
            assert any("forwarded from" in prompt and message["text"] in prompt for prompt in _prompts)


def _one_turn(*words: str) -> Callable[[Sequence[InboundRow]], None]:
    def check(rows: Sequence[InboundRow]) -> None:
        assert answered(rows) == [True] * len(rows)
        assert len(_prompts) == 1
        for word in words:
            assert word in _prompts[0]

    return check


def _three_photos(rows: Sequence[InboundRow]) -> None:
    _one_turn()(rows)
    assert _prompts[0].count("[attachment: photo") == 3


def _each_kind_is_told(rows: Sequence[InboundRow]) -> None:
    assert answered(rows) == [True] * len(rows)
    lines = [line for prompt in _prompts for line in prompt.splitlines() if line.startswith("> ")]
    assert [line.removeprefix("> [").partition(":")[0].partition(" for ")[0].partition(",")[0] for line in lines] == [
        "story",
        "checklist",
        "paid media",
        "game",
        "giveaway",
        "invoice",
        "data of a web app",
        "people shared",
    ]


def _forwarded(rows: Sequence[InboundRow]) -> None:
    _one_turn('forwarded from "Bob" id 4712, written 2026-09-21', "> Please pay invoice 12 today")(rows)


def _under_the_rules_of_old(rows: Sequence[InboundRow]) -> None:
    assert [row.reason for row in rows] == ["service_message", "service_message", "answered"]
    assert {row.envelope.peer.id for row in rows} == {"-4001"}


def _heard(rows: Sequence[InboundRow]) -> None:
    assert "[attachment: voice" not in _prompts[0]


RIGHT: dict[str, Callable[[Sequence[InboundRow]], None]] = {
    "27-tg-album-in-a-group": _three_photos,
    "29-tg-long-paste-in-a-group": _one_turn("xxx", "yyy"),
    "31-tg-forward-with-a-comment": _one_turn("is this true?", "The moon is made of cheese"),
    "32-tg-reply-to-somebody-with-a-mention": _one_turn("Bob", "The backup runs at 03:00 every Sunday"),
    "33-tg-quote-of-a-part": _one_turn("beta gamma"),
    "35-tg-forwarded-message": _forwarded,
    "37-tg-kinds-that-vanish": _each_kind_is_told,
    "38-tg-voice-note": _heard,
    "39-tg-group-becomes-a-supergroup": _under_the_rules_of_old,
}
LATER = {
    "27-tg-album-in-a-group": "messages that belong together are not joined yet",
    "29-tg-long-paste-in-a-group": "messages that belong together are not joined yet",
    "31-tg-forward-with-a-comment": "messages that belong together are not joined yet",
    "32-tg-reply-to-somebody-with-a-mention": "what is replied to is not in the prompt yet",
    "33-tg-quote-of-a-part": "what is replied to is not in the prompt yet",
    "38-tg-voice-note": "agents get references to files, and no sound yet",
}
"""What belongs to a later release, and why it is not right before."""


def _marked(name: str) -> Any:
    return pytest.param(
        name,
        marks=pytest.mark.xfail(reason=LATER[name], raises=pytest.RaisesGroup(AssertionError), strict=True)
        if name in LATER
        else (),
    )


@pytest.mark.parametrize("name", [_marked(name) for name in CASES if name in RIGHT])
async def test_what_is_right(name: str, tmp_path: Path, autojump_clock: MockClock) -> None:
    RIGHT[name](await run(CASES[name], tmp_path))


def test_the_table_is_of_cases_that_are_there() -> None:
    assert RIGHT.keys() <= CASES.keys()
    assert LATER.keys() <= RIGHT.keys()
