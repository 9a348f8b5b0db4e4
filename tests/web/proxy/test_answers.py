"""Answers of a client to requests and questions: recorded, and counted once."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gatewayd.model.config import (
    AgentSettings,
    ApprovalRule,
)
from tests.web.api.test_audit import deeds
from tests.web.attached import SESSION, AttachedSettings, open_server, says
from tests.web.proxy.site import ASKED, THEIRS, attached, frame, message, until_asked
from tests.web.site import configuration, open_site


async def test_an_answer_to_our_turn_is_given_at_our_desk_and_not_to_the_server(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with attached(tmp_path) as (site, server, client):
        for path, body, outcome in (
            ("/permission/per_7/reply", {"reply": "always"}, "allowed by operator:admin, None"),
            (
                f"/session/{SESSION}/permissions/per_7",
                {"response": "reject", "message": "not now"},
                "denied by operator:admin, not now",
            ),
        ):
            async with trio.open_nursery() as nursery:
                said: list[str] = []

                async def talk(said: list[str] = said) -> None:
                    answer = await client.post("/v1/chat/inbound?wait=60", json=message("ask per_7"))
                    said.append(answer.json()["payloads"][-1]["text"])

                nursery.start_soon(talk)
                await until_asked(site, "per_7")
                assert (await client.post(path, json=body)).json() is True
            assert said == [outcome]
        assert server.heard == []
        late = await client.post("/permission/per_7/reply", json={"reply": "once"})
        assert (late.status_code, late.json()["_tag"], late.json()["requestID"]) == (404, "PermissionNotFoundError", "per_7")
        assert [action for _, action, _ in await deeds(site)] == ["approval.allow", "approval.deny"]


async def test_a_press_and_an_answer_there_do_not_both_count(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
            approval = await until_asked(site, "per_7")
            answers: list[int] = []

            async def here() -> None:
                answers.append((await client.post(f"/v1/approvals/{approval}", json={"decision": "allow"})).status_code)

            async def there() -> None:
                answers.append((await client.post("/permission/per_7/reply", json={"reply": "reject"})).status_code)

            async with trio.open_nursery() as pressing:
                pressing.start_soon(here)
                pressing.start_soon(there)
        assert sorted(answers) in ([200, 404], [200, 409])
        assert all(heard.method == "GET" for heard in server.heard)


async def test_a_request_of_our_turn_that_is_not_asked_yet_is_not_answered_at_the_server(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers = {
            "GET /permission": says(
                [{**ASKED, "id": "per_8", "sessionID": "ses_child"}, {**ASKED, "id": "per_9", "sessionID": SESSION}]
            ),
            "GET /session/ses_child": says({"id": "ses_child", "parentID": SESSION}),
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
            await until_asked(site, "per_7")
            for request_id in ("per_8", "per_9"):
                answer = await client.post(f"/permission/{request_id}/reply", json={"reply": "once"})
                assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
            await client.post("/permission/per_7/reply", json={"reply": "once"})
        assert [heard.method for heard in server.heard] == ["GET"] * 3


async def test_a_request_of_the_client_s_own_session_is_recorded_and_answered_there(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers = {"GET /permission": says([ASKED]), "POST /permission/per_1/reply": says(True)}
        answer = await client.post("/permission/per_1/reply?directory=x", json={"reply": "always"})
        assert answer.json() is True
        [heard] = server.of("POST /permission/per_1/reply")
        assert heard.target == "/permission/per_1/reply?directory=x"
        assert heard.json == {"reply": "once"}  # always would be for everybody
        [row] = await site.gateway.approvals.list(None)
        assert (row.state, row.tool, row.decided_by, row.ref, row.origin) == (
            "allowed",
            "bash",
            "operator:admin",
            "per_1",
            "proxy",
        )
        assert json.loads(row.input) == {"command": "ls", "patterns": ["ls"]}
        assert row.consumed_at is not None
        assert [action for _, action, _ in await deeds(site)] == ["approval.allowed"]
        # Denied after that: it is passed on, and allowed after that: not.
        assert (await client.post("/permission/per_1/reply", json={"reply": "reject"})).json() is True
        unknown = await client.post("/permission/per_2/reply", json={"reply": "once"})
        assert (unknown.status_code, unknown.json()["_tag"]) == (404, "PermissionNotFoundError")


async def test_what_was_denied_is_not_allowed_after_that(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (_, server, client):
        server.answers = {"GET /permission": says([ASKED]), "POST /permission/per_1/reply": says({"error": "x"}, 500)}
        await client.post("/permission/per_1/reply", json={"reply": "reject", "message": "no"})
        assert server.heard[-1].json == {"reply": "reject", "message": "no"}
        assert (await client.post("/permission/per_1/reply", json={"reply": "once"})).status_code == 404
        assert len(server.of("POST /permission/per_1/reply")) == 1


@pytest.mark.parametrize(
    "approvals", [{"quorum": 2}, {"rules": (ApprovalRule(action="deny", tool="bash", input={"command": "l*"}),)}]
)
async def test_the_agent_s_policy_holds_for_the_client_s_own_sessions(
    tmp_path: Path, clock: trio.testing.MockClock, approvals: dict[str, Any]
) -> None:
    async with attached(tmp_path, **approvals) as (site, server, client):
        server.answers = {
            "GET /permission": says([ASKED]),
            "POST /permission/per_1/reply": says(True),
            "POST /session/ses_theirs/shell": says({}),
        }
        for path, body in (
            ("/permission/per_1/reply", {"reply": "once"}),
            (f"/session/{THEIRS}/shell", {"agent": "build", "command": "ls"}),
        ):
            answer = await client.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
        assert await site.gateway.approvals.list(None) == []
        assert (await client.post("/permission/per_1/reply", json={"reply": "reject"})).json() is True


async def test_a_question_of_our_turn_is_answered_once(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, client):
        for verb, body, outcome in (
            ("reply", {"answers": [["Red"]]}, "answers: ('Red',)"),
            ("reject", {}, "answers: None"),
        ):
            talk = message("question que_7:0") | {"event_key": verb}
            asked = (await client.post("/v1/chat/inbound?wait=60", json=talk)).json()
            assert asked["question"]
            if verb == "reply":
                two = await client.post("/question/que_7/reply", json={"answers": [["Red"], ["Blue"]]})
                assert two.status_code == 409
            assert (await client.post(f"/question/que_7/{verb}", json=body)).json() is True
            over = (await client.post("/v1/chat/inbound?wait=60", json=talk)).json()
            assert over["payloads"][-1]["text"] == outcome
        server.answers["GET /question"] = says([])
        late = await client.post("/question/que_7/reply", json={"answers": [["Red"]]})
        assert (late.status_code, late.json()["_tag"]) == (404, "QuestionNotFoundError")
        assert [heard.method for heard in server.heard] == ["GET"]
        done = await deeds(site)
        assert [(who, action) for who, action, _ in done] == [
            ("operator:admin", "question.answer"),
            ("operator:admin", "question.dismiss"),
        ]
        assert all(subject.startswith("qu_") for _, _, subject in done)


async def test_a_request_that_says_not_whose_it_is_is_ours_if_it_is_the_same(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    """OpenAgentic's list has neither sessions nor unique ids."""
    same = {"id": "call_0", "tool": "bash", "input": {"command": "ls"}}
    other = {"id": "call_1", "tool": "bash", "input": {"command": "rm"}}
    async with attached(tmp_path) as (site, server, client):
        server.answers = {"GET /permission": says([same, other]), "POST /permission/call_1/reply": says(True)}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask ses:17")))
            await until_asked(site, "ses:17")
            assert (await client.post("/permission/call_1/reply", json={"reply": "allow"})).status_code == 409
            assert (await client.post("/permission/call_0/reply", json={"reply": "allow"})).json() is True
        assert server.of("POST /permission/call_0/reply") == []
        assert (await client.post("/permission/call_1/reply", json={"reply": "deny"})).json() is True
        assert server.heard[-1].json == {"reply": "deny"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            {"id": "call_0", "tool": "Bash", "input": {"command": "ls"}},
            {"id": "call_0", "tool": "Bash", "input": {"command": "rm"}},
        ),
        (
            {"id": "call_0", "tool": "Bash", "input": {"command": "ls"}},
            {"id": "call_0", "tool": "Bash", "input": {"command": "ls"}},
        ),
        (ASKED, {**ASKED, "sessionID": "ses_other"}),
        (ASKED, {**ASKED, "metadata": {"command": "rm"}}),
    ],
)
async def test_every_answer_to_an_id_that_is_given_again_is_recorded(
    tmp_path: Path, clock: trio.testing.MockClock, first: dict[str, object], second: dict[str, object]
) -> None:
    yes, no = {"reply": "once"}, {"reply": "reject"}
    async with attached(tmp_path) as (site, server, client):
        path = f"/permission/{first['id']}/reply"
        server.answers[f"POST {path}"] = says(True)
        for listed, body in ((first, yes), (second, yes), (first, no), (second, yes)):
            server.answers["GET /permission"] = says([listed])
            assert (await client.post(path, json=body)).json() is True
        rows = await site.gateway.approvals.list(None)
        assert sorted(row.state for row in rows) == ["allowed", "allowed", "allowed", "denied"]
        shown = [json.dumps(entry.get("input") or entry["metadata"], separators=(",", ":"))[1:-1] for entry in (first, second)]
        assert sum(shown[1] in row.input for row in rows if row.state == "allowed") >= 2
        assert [action for _, action, _ in await deeds(site)] == [
            f"approval.{state}" for state in ("allowed", "allowed", "denied", "allowed")
        ]
        assert len(server.of(f"POST {path}")) == 4


async def test_a_used_yes_is_none_for_the_next_time(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers = {"GET /permission": says([ASKED]), "POST /permission/per_1/reply": says({"error": "x"}, 500)}
        for _ in range(2):
            assert (await client.post("/permission/per_1/reply", json={"reply": "once"})).status_code == 500
        assert [row.state for row in await site.gateway.approvals.list(None)] == ["allowed", "allowed"]
        statuses = [(await client.post("/permission/per_1/reply", json={"reply": "once"})).status_code for _ in range(20)]
        assert statuses == [500] * 18 + [409] * 2


async def test_an_answer_at_one_agent_s_server_is_none_at_another_s(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_server() as ours, open_server() as evil:
        agents = (
            AgentSettings("coder", frame(), AttachedSettings(ours.url)),
            AgentSettings("evil", frame(), AttachedSettings(evil.url)),
        )
        question = {"id": "que_7", "sessionID": THEIRS, "questions": [{}]}
        evil.answers = {
            "GET /permission": says([{**ASKED, "id": "per_7"}]),
            "POST /permission/per_7/reply": says(True),
            "GET /question": says([question]),
            "POST /question/que_7/reply": says(True),
        }
        async with open_site(tmp_path, configuration(agents=agents)) as site, site.client() as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
                await until_asked(site, "per_7")
                assert (await client.post("/permission/per_7/reply?agent=evil", json={"reply": "once"})).json() is True
                assert len(evil.of("POST /permission/per_7/reply")) == 1
                assert site.gateway.approvals.find_pending(agent="coder", ref="per_7") is not None
                await client.post("/permission/per_7/reply?agent=coder", json={"reply": "reject"})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("question que_7:0")))
                while site.gateway.questions.find_pending(agent="coder", ref="que_7:0") is None:
                    await trio.testing.wait_all_tasks_blocked(0.001)
                assert (await client.post("/question/que_7/reply?agent=evil", json={"answers": [["Red"]]})).json() is True
                assert len(evil.of("POST /question/que_7/reply")) == 1
                assert site.gateway.questions.find_pending(agent="coder", ref="que_7:0") is not None
                await client.post("/question/que_7/reject?agent=coder")


CALLED = {**ASKED, "tool": {"messageID": "msg_1", "callID": "call_1"}}
CALL = {
    "type": "tool",
    "tool": "bash",
    "callID": "call_1",
    "state": {"status": "running", "input": {"command": "ls", "workdir": "/etc"}},
}


@pytest.mark.parametrize(
    ("rule", "parts", "status"),
    [
        # What is asked does not say where it runs: only the call does.
        ({"workdir": "/etc*"}, [{"type": "text", "text": "x"}, CALL], 403),
        ({"workdir": "/home*"}, [CALL], 200),
        ({"timeout": "*"}, [CALL], 200),
        ({"workdir": "/home*"}, [], 403),
        ({"workdir": "/home*"}, [{**CALL, "callID": "call_2"}], 403),
        ({"workdir": "/home*"}, [{**CALL, "state": {"status": "pending", "input": {}}}], 403),
        ({"workdir": "/home*"}, None, 403),
        ({"workdir": "/home*"}, [{"callID": 1}], 403),
        ({"command": "rm*"}, [], 200),
        ({"command": "rm*", "workdir": "/home*"}, [], 200),
        ({"command": "l*", "workdir": "/home*"}, [], 403),
    ],
)
async def test_a_denial_holds_for_what_the_tool_gets_or_may_get(
    tmp_path: Path, clock: trio.testing.MockClock, rule: dict[str, str], parts: list[object] | None, status: int
) -> None:
    rules = (ApprovalRule(action="deny", tool="edit"), ApprovalRule(action="deny", tool="bash", input=rule))
    async with attached(tmp_path, rules=rules) as (site, server, client):
        server.answers = {"GET /permission": says([CALLED]), "POST /permission/per_1/reply": says(True)}
        if parts is not None:
            server.answers[f"GET /session/{THEIRS}/message/msg_1"] = says({"info": {}, "parts": parts})
        answer = await client.post("/permission/per_1/reply", json={"reply": "once"})
        assert answer.status_code == status, answer.text
        rows = await site.gateway.approvals.list(None)
        assert len(rows) == (status == 200)
        if rows and parts == [CALL]:
            assert json.loads(rows[0].input) == {"command": "ls", "workdir": "/etc"}
        # A no is always possible.
        assert (await client.post("/permission/per_1/reply", json={"reply": "reject"})).json() is True


async def test_an_answer_that_came_too_late_for_our_question_is_recorded_as_one(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with attached(tmp_path) as (site, _, client):
        answers: list[int] = []

        async def reply() -> None:
            answers.append((await client.post("/question/que_7/reply", json={"answers": [["Red"]]})).status_code)

        record, ready = site.gateway.audit.record, trio.Event()

        async def together(actor: str, action: str, *args: Any, **detail: Any) -> Any:
            row = await record(actor, action, *args, **detail)
            if action == "question.answer" and sum(name == action for _, name, _ in await deeds(site)) == 2:
                ready.set()
            if action == "question.answer":
                await ready.wait()
            return row

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("question que_7:0")))
            while site.gateway.questions.find_pending(agent="coder", ref="que_7:0") is None:
                await trio.testing.wait_all_tasks_blocked(0.001)
            site.gateway.audit.record = together  # type: ignore[method-assign]
            nursery.start_soon(reply)
            nursery.start_soon(reply)
        assert sorted(answers) == [200, 404]
        assert [action for _, action, _ in await deeds(site)] == [*["question.answer"] * 2, "question.answer.refused"]


async def test_a_long_note_is_cut_where_it_is_kept(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    long = "n" * 700
    async with attached(tmp_path) as (site, server, client):
        server.answers = {"GET /permission": says([ASKED]), "POST /permission/per_1/reply": says(True)}
        await client.post("/permission/per_1/reply", json={"reply": "reject", "message": long})
        assert server.heard[-1].json["message"] == long
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
            await until_asked(site, "per_7")
            await client.post("/permission/per_7/reply", json={"reply": "reject", "message": long})
        notes = [row.note for row in await site.gateway.approvals.list(None)]
        assert notes == ["n" * 500 + "… (200 more characters were cut)"] * 2
