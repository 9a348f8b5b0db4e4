"""The manifests of docs/channels/slack.md, judged by the type that Slack's own SDK has for them (npm, @slack/web-api)."""

from copy import deepcopy
from pathlib import Path

import pytest

from tests.channels.slack.judges.installed import check_values
from tests.docs.test_slack import EVENTS, SOCKET

pytestmark = pytest.mark.slow

KIND = "AppsManifestValidateArguments"


async def test_the_manifests_have_the_type_of_one(tmp_path: Path) -> None:
    values = [(KIND, {"token": "xoxe", "manifest": manifest}) for manifest in (SOCKET, EVENTS)]
    assert await check_values(tmp_path, "manifests.ts", values) == ""


async def test_the_judge_refuses_what_is_no_manifest(tmp_path: Path) -> None:
    scope, event, field = (deepcopy(SOCKET) for _ in range(3))
    scope["oauth_config"]["scopes"]["bot"].append("channels:hear")
    event["settings"]["event_subscriptions"]["bot_events"].append("message.all")
    field["features"]["slash_commands"][0]["hint"] = "no such field"
    values = [(KIND, {"token": "xoxe", "manifest": manifest}) for manifest in (scope, event, field)]
    said = await check_values(tmp_path, "wrong.ts", values)
    assert said.count("error TS") == 3
    assert all(word in said for word in ("channels:hear", "message.all", "hint"))
