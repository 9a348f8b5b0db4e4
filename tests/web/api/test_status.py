"""The snapshot and the dry run of routing."""

import os
from pathlib import Path

import pytest
import trio.testing

from tests.web.site import open_site


async def test_the_status_is_the_snapshot(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        status = (await client.get("/v1/gateway/status")).json()
        assert (status["pid"], status["state"], status["ready"], status["problems"]) == (os.getpid(), "ready", True, [])
        assert len(status["accounts"]) == 5
        assert status["agents"][0]["agent"] == "assistant"
        assert set(status) >= {"version", "uptime_s", "lanes", "outbox", "approvals_pending", "pairings_pending", "counters"}


async def test_the_route_of_a_message_that_nobody_sent(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        query = {"channel": "loopback", "account": "main", "peer": "group:-100:7", "thread": "9"}
        route = (await client.get("/v1/gateway/route", params=query)).json()
        assert (route["agent_id"], route["rule"]) == ("assistant", "default")
        assert route["session_key"].startswith("assistant:loopback:main:group:")
        assert route["session_key"].endswith(":thread:9")
        assert await site.rows() == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("account=main&peer=dm:7", {"who": "anybody (dm_policy is open)"}),
        ("account=strict&peer=group:7", {"who": "nobody (the group is not in groups)"}),
        ("account=main&peer=dm:7&sender=7", {"verdict": "admit", "decided_by": "dm_policy"}),
        ("account=strict&peer=dm:7&sender=7", {"verdict": "pair", "decided_by": "pairing", "reason": "pairing_required"}),
        ("account=strict&peer=group:7&sender=7", {"verdict": "drop", "decided_by": "groups"}),
        ("account=main&peer=group:7&sender=7", {"verdict": "admit", "decided_by": "group_policy"}),
    ],
)
async def test_it_is_said_who_may_talk_and_why(
    tmp_path: Path, clock: trio.testing.MockClock, query: str, expected: dict[str, str]
) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        found = (await client.get(f"/v1/gateway/route?channel=loopback&{query}")).json()
        assert found | expected == found


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("channel=loopback&account=main", 400, "peer"),
        ("channel=loopback&account=main&peer=alice", 400, "KIND:ID"),
        ("channel=loopback&account=main&peer=dm:", 400, "KIND:ID"),
        ("channel=loopback&account=main&peer=room:7", 400, "dm, group, channel"),
        ("channel=loopback&account=main&peer=dm:7&colour=red", 400, "allowed: channel, account, peer"),
        ("channel=loopback&account=nobody&peer=dm:7", 404, "loopback/nobody"),
    ],
)
async def test_a_wrong_question_is_said_to_be_wrong(
    tmp_path: Path, clock: trio.testing.MockClock, query: str, status: int, word: str
) -> None:
    async with open_site(tmp_path) as site, site.client("read") as client:
        response = await client.get(f"/v1/gateway/route?{query}")
        assert response.status_code == status
        assert word in response.json()["error"]["message"]
