"""docs/channels/slack.md says what the driver does: its manifests, its words for errors, its log, its keys, and its tests."""

import ast
import json
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from gatewayd.channels.slack.errors import COMMON, SPECIAL, ErrorKind
from gatewayd.channels.slack.identity import SCOPES
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.model.config import GatewaySection
from gatewayd.model.secret import Secret
from tests.channels.slack.rig import now, rig_for
from tests.fakes.slack_platform import FakeSlack

ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "gatewayd/channels/slack"
PAGE = (ROOT / "docs/channels/slack.md").read_text()
SOCKET, EVENTS = (json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
HISTORIES: Final = frozenset({"channels:history", "groups:history", "im:history", "mpim:history"})
READS: Final = frozenset({"channels:read", "groups:read", "im:read", "mpim:read"})
SCOPES_OF: Final[dict[str, frozenset[str]]] = {
    "apps.connections.open": frozenset(),  # a scope of the app token
    "assistant.threads.setStatus": frozenset({"chat:write"}),
    "auth.test": frozenset(),
    "bots.info": frozenset({"users:read"}),
    "chat.appendStream": frozenset({"chat:write"}),
    "chat.postEphemeral": frozenset({"chat:write"}),
    "chat.postMessage": frozenset({"chat:write"}),
    "chat.startStream": frozenset({"chat:write"}),
    "chat.stopStream": frozenset({"chat:write"}),
    "chat.update": frozenset({"chat:write"}),
    "conversations.history": HISTORIES,
    "conversations.open": frozenset({"im:write"}),  # of one person
    "conversations.replies": HISTORIES,
    "files.completeUploadExternal": frozenset({"files:write"}),
    "files.delete": frozenset({"files:write"}),
    "files.getUploadURLExternal": frozenset({"files:write"}),
    "files.info": frozenset({"files:read"}),
    "users.conversations": READS,
    "users.info": frozenset({"users:read"}),
}
"""The pages of the methods, "Required scopes"."""
SCOPES_OF_EVENTS: Final = {
    "app_mention": "app_mentions:read",
    "message.channels": "channels:history",
    "message.groups": "groups:history",
    "message.im": "im:history",
    "message.mpim": "mpim:history",
}
"""The pages of the events, "Required scopes". The driver reads reactions, too; nobody uses them, so the app need not see them."""
INTERACTIVE: Final = "commands"
"""The scope of slash commands and shortcuts."""
WORDS: Final[dict[ErrorKind, str]] = {"operator": "parked", "rejected": "dead", "again": "sent later", "perhaps": "looked up"}


def sources() -> str:
    return "\n".join(path.read_text() for path in sorted(DRIVER.rglob("*.py")) if path.name != "limits.py")


def methods() -> set[str]:
    """The methods of the Web API that the driver calls."""
    families = {method.partition(".")[0] for method in SCOPES_OF}
    named = re.findall(r'"([a-z]+(?:\.[a-zA-Z]+)+)"', sources() + (DRIVER / "limits.py").read_text().partition("_RATES")[0])
    return {name for name in named if name.partition(".")[0] in families and not name.endswith(".com")}


def scopes_of(manifest: dict[str, Any]) -> list[str]:
    scopes: list[str] = manifest["oauth_config"]["scopes"]["bot"]
    return scopes


def test_the_scopes_are_those_of_the_methods_and_events_and_no_others() -> None:
    assert methods() == SCOPES_OF.keys()
    wanted = {INTERACTIVE, *SCOPES_OF_EVENTS.values()}.union(*SCOPES_OF.values())
    assert scopes_of(SOCKET) == sorted(wanted)
    assert wanted > SCOPES.keys()


def test_the_events_are_those_that_are_read_but_for_reactions() -> None:
    body = (DRIVER / "receiving/inbound.py").read_text().partition("match kind:")[2].partition("return Read(ignored=")[0]
    cases = re.findall(r'"(\w+)"', " ".join(re.findall(r"case (.*):", body)))
    read = {event.partition(".")[0] for event in SCOPES_OF_EVENTS} | {"reaction_added", "reaction_removed"}
    assert set(cases) == read
    assert SOCKET["settings"]["event_subscriptions"]["bot_events"] == list(SCOPES_OF_EVENTS)


def test_the_two_manifests_differ_in_addresses_and_in_socket_mode_alone() -> None:
    def without_addresses(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_addresses(inner) for key, inner in value.items() if key not in ("url", "request_url")}
        return [without_addresses(inner) for inner in value] if isinstance(value, list) else value

    def addresses(value: Any) -> Iterator[str]:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            if key in ("url", "request_url"):
                yield inner
            yield from addresses(inner)

    socket, events = deepcopy(SOCKET), deepcopy(EVENTS)
    assert (socket["settings"].pop("socket_mode_enabled"), events["settings"].pop("socket_mode_enabled")) == (True, False)
    assert without_addresses(events) == socket
    (address,) = set(addresses(EVENTS))
    assert address == "https://bot.example.org/v1/webhooks/slack/main"
    assert len(list(addresses(EVENTS))) == len(EVENTS["features"]["slash_commands"]) + 2


@pytest.mark.parametrize("manifest", [SOCKET, EVENTS], ids=["socket", "events"])
def test_a_manifest_is_within_the_lengths_of_the_reference(manifest: dict[str, Any]) -> None:
    """ "App manifest reference"."""
    features, settings = manifest["features"], manifest["settings"]
    assert len(manifest["display_information"]["name"]) <= 35
    assert re.fullmatch(r"[a-z0-9._-]{1,80}", features["bot_user"]["display_name"])
    assert len(features["shortcuts"]) <= 10
    assert [it for it in features["shortcuts"] if len(it["name"]) > 24 or len(it["description"]) > 150] == []
    assert len(features["slash_commands"]) <= 50
    assert [it for it in features["slash_commands"] if not re.fullmatch(r"/[a-z]{1,31}", it["command"])] == []
    assert features["app_home"] == {
        "home_tab_enabled": False,
        "messages_tab_enabled": True,
        "messages_tab_read_only_enabled": False,
    }
    assert settings["interactivity"]["is_enabled"] is True
    assert settings["token_rotation_enabled"] is settings["org_deploy_enabled"] is False


def test_the_slash_commands_and_shortcuts_are_the_chat_commands() -> None:
    """But /status and /help, which Slack keeps for itself, and /start, which Slack has no use for."""
    listed = re.findall(r"^\| `(/\w+)", (ROOT / "docs/reference/commands.md").read_text(), re.MULTILINE)
    features = SOCKET["features"]
    offered = [it["command"] for it in features["slash_commands"]]
    everywhere = [f"/{it['callback_id']}" for it in features["shortcuts"] if it["type"] == "global"]
    assert len(offered) > 5
    assert {*offered, *everywhere, "/start"} == set(listed)


async def test_an_app_with_these_scopes_lacks_nothing(autojump_clock: MockClock) -> None:
    """Also when it reads back what was said in conversations of all four kinds."""
    async with FakeSlack.serve(now=now) as slack, rig_for(slack) as rig:
        slack.set_scopes(scopes_of(SOCKET))
        alice, bob = slack.add_user("alice"), slack.add_user("bob")
        places = [
            slack.add_channel("general", [alice]),
            slack.add_channel("secret", [alice], private=True),
            slack.dm(alice),
            slack.group_dm(alice, bob),
        ]
        async with rig.listening():
            await slack.wait_connections(2)
            slack.say(alice, slack.dm(alice), "before")
            await rig.journal.wait_texts("before")
            await trio.sleep(100)
            slack.drop_events()
            for place in places:
                slack.say(alice, place, f"said in {place}")
            slack.drop_events(False)
            slack.fault("drop_before", "apps.connections.open", times=None)
            await slack.cut()
            await slack.wait_until(lambda: len(slack.connections) == 1)
            await slack.cut()
            slack.clear_faults()
            for place in places:
                await rig.journal.wait_text(f"said in {place}")
            await trio.sleep(100)
        assert {what: reason for what, reason in rig.services.lacking.items() if reason is not None} == {}


def test_the_words_for_wrong_tokens_are_those_of_the_check() -> None:
    said = re.findall(r"^\[channels\.slack\.accounts\.main\]: (.*)$", PAGE, re.MULTILINE)
    good = {
        "bot_token": "xoxb-1234-abcdefgh",
        "app_token": "xapp-1-A0-abcdefgh",
        "signing_secret": "8f742231b10e8888abcd99yyyzzz85a5",
    }
    wrong = {"bot_token": "xoxp-1234-abcdefgh", "app_token": good["bot_token"], "signing_secret": good["app_token"]}
    found = []
    for key, value in wrong.items():
        settings = SlackSettings(**{name: Secret(token) for name, token in {**good, key: value}.items()})  # type: ignore[arg-type]
        found += settings.problems(GatewaySection())
    assert said == found


def test_the_errors_are_told_as_the_driver_tells_them() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (parked|dead|sent later|looked up) \| (.*) \|$", PAGE, re.MULTILINE)
    known = {**COMMON, **SPECIAL}
    assert rows == [(name, WORDS[known[name][0]], known[name][1]) for name, _, _ in rows]
    assert {name for name, (kind, _) in known.items() if kind == "operator"} <= {name for name, _, _ in rows}


def test_the_log_lines_are_those_of_the_driver() -> None:
    written = set(re.findall(r'log\.\w+\(\s*"(slack_\w+)"', sources()))
    assert set(re.findall(r"`(slack_\w+)`", PAGE)) == written


def test_every_key_that_is_named_exists() -> None:
    named = set(re.findall(r"`(\w+) = [^`]*`", PAGE)) | {"backfill_minutes", "backfill_calls", "max_attachment_bytes"}
    reference = (ROOT / "docs/reference/configuration.md").read_text()
    assert [name for name in named - {"match"} if f"| `{name}` |" not in reference] == []
    assert f"`backfill_minutes` ({SlackSettings(bot_token=Secret('')).backfill_minutes})" in PAGE
    assert f"`backfill_calls` ({SlackSettings(bot_token=Secret('')).backfill_calls})" in PAGE


BOLT = "tests/channels/slack/bolt/test_bolt.py"
ROWS = re.findall(r"^\| [^|]+ \| (.*`tests/.*) \| (.*`test_\w+`) \|$", PAGE, re.MULTILINE)


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {it.name for it in ast.walk(tree) if isinstance(it, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("ours", "bolts"), ROWS)
def test_each_row_of_the_comparison_names_tests_of_both_that_exist(ours: str, bolts: str) -> None:
    named = [*re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", ours), *((BOLT, name) for name in re.findall(r"`(test_\w+)`", bolts))]
    assert len(named) > 1
    assert [name for path, name in named if name not in names_in(path)] == []


def test_each_measure_of_bolt_is_in_the_comparison_with_its_versions() -> None:
    assert {name for _, bolts in ROWS for name in re.findall(r"`(test_\w+)`", bolts)} == {
        name for name in names_in(BOLT) if name.startswith("test_")
    }
    (versions,) = re.findall(r"slack_bolt ([\d.]+) with slack_sdk\s+([\d.]+),", PAGE)
    locked = dict(re.findall(r"^(slack-bolt|slack-sdk)==([\d.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert versions == (locked["slack-bolt"], locked["slack-sdk"])
