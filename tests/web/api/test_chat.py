"""Messages of connectors: journaled once, answered when asked to."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio
import trio.testing
from msgspec import structs

from gatewayd.agents.callable import CallableSettings
from gatewayd.model.config import AgentFrame, AgentSettings, AuthSection, LimitsSection, TokenConfig
from gatewayd.model.secret import Secret
from gatewayd.web.api.chat import MAX_TEXT_CHARS
from tests.web.client import request
from tests.web.site import configuration, open_site, token_of

PATH = "/v1/chat/inbound"


def message(text: str = "hello", **changes: object) -> dict[str, Any]:
    body: dict[str, Any] = {
        "channel": "loopback",
        "account": "main",
        "peer": {"kind": "dm", "id": "alice"},
        "sender": {"id": "alice", "name": "Alice"},
        "text": text,
    }
    return {key: value for key, value in (body | changes).items() if value is not None}


async def test_a_message_is_journaled_and_run(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        response = await client.post(PATH, json=message(event_key="k", message_id="m1", reply_to="m0"))
        assert response.status_code == 202
        place = {"session_key": "assistant:loopback:main:dm:alice", "session_id": None}
        assert response.json() == {"id": "in-1", "state": "received", "duplicate": False, **place}
        await trio.sleep(1)
        [row] = await site.rows()
        assert row.state == "done"
        envelope = row.envelope
        assert (envelope.peer.id, envelope.sender.name, envelope.text, envelope.addressed) == ("alice", "Alice", "hello", True)
        assert (envelope.message_id, envelope.reply_to, envelope.event_key) == ("m1", "m0", "via:write:k")


async def test_waiting_gives_the_payloads_of_its_turn(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        response = await client.post(f"{PATH}?wait=30", json=message("hello there"))
        assert response.status_code == 200
        over = response.json()
        assert (over["id"], over["state"], over["duplicate"]) == ("in-1", "done", False)
        session = await site.store.get_session(over["session_key"])
        assert session is not None
        assert over["session_id"] == session.session_id
        assert over["reason"]
        [payload] = over["payloads"]
        assert "hello there" in payload["text"]


async def test_a_program_sees_no_prompts_and_decides_nothing(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    answers: list[dict[str, Any]] = []
    async with open_site(tmp_path) as site, site.client("write") as client:

        async def ask() -> None:
            answers.append((await client.post(f"{PATH}?wait=100", json=message("/demo-tool delete it"))).json())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            [waiting] = await site.gateway.approvals.list()
            command = message(f"/approve {waiting.code}", peer={"kind": "dm", "id": "boss"}, sender={"id": "boss"})
            answer = (await client.post(f"{PATH}?wait=30", json=command)).json()
            assert answer["reason"] != "approval_vote"
            assert (await site.gateway.approvals.get(waiting.id)).votes == ()
            await site.gateway.approvals.decide(waiting.id, allow=False, by="operator:me")
    [payload] = answers[0]["payloads"]
    assert "Waiting for" not in payload["text"]


async def test_a_question_of_the_agent_reaches_who_was_brought_by_a_connector(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    config = configuration(
        agents=(AgentSettings("assistant", AgentFrame(core="callable"), CallableSettings("tests.web.curious:ask")),)
    )
    async with open_site(tmp_path, config) as site, site.client("write") as client:
        first = message("go", event_key="k")
        began = trio.current_time()
        for duplicate in (False, True):  # a repeat is told the same
            response = await client.post(f"{PATH}?wait=60", json=first)
            over = response.json()
            assert (response.status_code, over["state"], over["duplicate"]) == (202, "running", duplicate)
            options = [{"label": "North"}, {"label": "South"}]
            assert over["question"] == {
                "id": over["question"]["id"],
                "text": "Where to?",
                "options": options,
                "multiple": False,
            }
        assert trio.current_time() - began < 10, "the wait ends with the question"
        answered = (await client.post(f"{PATH}?wait=60", json=message("2"))).json()
        assert (answered["state"], answered["reason"], answered["payloads"]) == ("done", "answer", [])
        over = (await client.post(f"{PATH}?wait=60", json=first)).json()
        assert [payload["text"] for payload in over["payloads"]] == ["told ('South',)"]


async def test_another_connector_does_not_answer_it(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    config = configuration(
        agents=(AgentSettings("assistant", AgentFrame(core="callable"), CallableSettings("tests.web.curious:ask")),)
    )
    async with open_site(tmp_path, config) as site, site.client("write") as client, site.client("admin") as other:
        asked = (await client.post(f"{PATH}?wait=60", json=message("go"))).json()
        beside = (await other.post(f"{PATH}?wait=1", json=message("2"))).json()
        assert beside["state"] == "received"
        [question] = await site.store.pending_questions(limit=10)
        assert question.id == asked["question"]["id"]


async def test_a_repeat_is_the_same_message(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        first = (await client.post(f"{PATH}?wait=30", json=message("once", event_key="same"))).json()
        again = (await client.post(f"{PATH}?wait=30", json=message("once", event_key="same"))).json()
        assert again == first | {"duplicate": True}
        later = await client.post(PATH, json=message("once", event_key="same"))
        place = {field: first[field] for field in ("session_key", "session_id")}
        assert (later.status_code, later.json()) == (202, {"id": "in-1", "state": "done", "duplicate": True, **place})
        assert len(await site.rows()) == 1


async def test_a_key_belongs_to_the_connector(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    """To its name: another one's message under the same key is another message, and its answer stays with who asked."""
    async with open_site(tmp_path) as site, site.client("write") as one, site.client("admin") as other:
        first = (await one.post(f"{PATH}?wait=30", json=message("my secret", event_key="k"))).json()
        second = (await other.post(f"{PATH}?wait=30", json=message("hello", event_key="k"))).json()
        assert (first["id"], second["id"], second["duplicate"]) == ("in-1", "in-2", False)
        assert "my secret" in first["payloads"][0]["text"]
        assert "my secret" not in str(second)


async def test_a_key_stays_with_the_name_when_the_secret_is_replaced(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    config = configuration()
    secret = "another-secret-for-writing-0123456789"
    tokens = config.auth.tokens | {"write": TokenConfig(token=Secret(secret), scopes=("write",))}
    async with open_site(tmp_path) as site, site.client("write") as client:
        first = (await client.post(f"{PATH}?wait=30", json=message(event_key="k"))).json()
        site.gateway.configured.replace(structs.replace(config, auth=AuthSection(tokens=tokens)))
        client.headers["Authorization"] = f"Bearer {secret}"
        assert (await client.post(f"{PATH}?wait=30", json=message(event_key="k"))).json() == first | {"duplicate": True}


@pytest.mark.parametrize(
    ("changes", "other"),
    [
        ({"text": "something else"}, "another text"),
        ({"peer": {"kind": "dm", "id": "bob"}}, "another peer"),
        ({"peer": {"kind": "dm", "id": "alice", "thread": "7"}}, "another peer"),
        ({"sender": {"id": "bob"}}, "another sender"),
        ({"sender": {"id": "bob"}, "text": "x"}, "another sender and text"),
    ],
)
async def test_a_key_that_is_used_for_another_message_is_409(
    tmp_path: Path, clock: trio.testing.MockClock, changes: dict[str, Any], other: str
) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        await client.post(f"{PATH}?wait=30", json=message("my secret", event_key="k"))
        response = await client.post(f"{PATH}?wait=30", json=message(event_key="k", **{"text": "my secret"} | changes))
        assert (response.status_code, response.json()["error"]["code"]) == (409, "conflict")
        said = response.json()["error"]["message"]
        assert all(part in said for part in ("'k'", "in-1", other))
        assert "secret" not in said
        assert len(await site.rows()) == 1


async def test_a_name_that_changed_is_no_other_message(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        await client.post(PATH, json=message(event_key="k"))
        again = await client.post(PATH, json=message(event_key="k", sender={"id": "alice", "name": "Alice Smith"}))
        assert again.json()["duplicate"]


async def test_a_token_brings_nothing_for_an_account_that_is_not_its_own(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    config = configuration()
    token = TokenConfig(token=Secret(token_of("write")), role="connector", scopes=("write",), accounts=("loopback/main",))
    config = structs.replace(config, auth=AuthSection(tokens={"bridge": token}))
    async with open_site(tmp_path, config) as site, site.client("write") as client:
        assert (await client.post(PATH, json=message())).status_code == 202
        for account in ("strict", "off", "nobody"):
            response = await client.post(PATH, json=message(account=account))
            assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
            assert f"loopback/{account}" in response.json()["error"]["message"]
        assert len(await site.rows()) == 1


async def test_the_trace_of_a_message_is_found_by_the_key_that_was_given(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client, site.client("read") as reader:
        await client.post(f"{PATH}?wait=30", json=message(event_key="order/17"))
        for wanted in ("order/17", "loopback/main/order/17", "via:write:order/17"):
            trace = (await reader.get(f"/v1/messages/{quote(wanted)}")).json()
            assert "in-1" in trace["found"]


async def test_one_key_for_two_accounts_is_two_messages(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        first = (await client.post(PATH, json=message(event_key="k"))).json()
        other = (await client.post(PATH, json=message(event_key="k", channel="loopback", account="strict"))).json()
        assert (first["id"], other["id"], other["duplicate"]) == ("in-1", "in-2", False)


async def test_repeats_at_the_same_time_are_one_message(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    answers: list[dict[str, Any]] = []
    async with open_site(tmp_path) as site, site.client("write") as client:

        async def post() -> None:
            answers.append((await client.post(f"{PATH}?wait=30", json=message("race", event_key="race"))).json())

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(post)
        assert {answer["id"] for answer in answers} == {"in-1"}
        assert sum(not answer["duplicate"] for answer in answers) == 1
        assert len({str(answer["payloads"]) for answer in answers}) == 1


async def test_without_a_key_every_post_is_a_message(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        ids = [(await client.post(PATH, json=message())).json()["id"] for _ in range(3)]
        assert ids == ["in-1", "in-2", "in-3"]


async def test_a_wait_that_is_too_short_says_where_it_is(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        began = trio.current_time()
        response = await client.post(f"{PATH}?wait=7.5", json=message("/demo-tool x"))
        assert (response.status_code, response.json()["state"]) == (202, "received")
        assert 7.5 <= trio.current_time() - began < 8.5


async def test_a_message_nobody_lets_in_ends_with_the_reason(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        over = (await client.post(f"{PATH}?wait=30", json=message(account="strict"))).json()
        assert (over["state"], over["reason"], over["payloads"]) == ("dropped", "pairing_required", [])


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"account": "nobody"}, 404, "loopback/nobody"),
        ({"channel": "smoke"}, 404, "smoke/main"),
        ({"account": "off"}, 409, "disabled"),
        ({"text": None}, 400, "text"),
        ({"peer": None}, 400, "peer"),
        ({"peer": {"kind": "room", "id": "1"}}, 400, "room"),
        ({"peer": {"kind": "dm", "id": ""}}, 400, "peer.id"),
        ({"peer": {"kind": "dm", "id": "x" * 257}}, 400, "256"),
        ({"sender": {"id": "a", "is_bot": True}}, 400, "is_bot"),
        ({"text": 7}, 400, "text"),
        ({"text": "x" * (MAX_TEXT_CHARS + 1)}, 400, str(MAX_TEXT_CHARS)),
        ({"txt": "typo"}, 400, "txt"),
        ({"event_key": ""}, 400, "event_key"),
        ({"event_key": "a\0b"}, 400, "event_key has a NUL character"),
        ({"peer": {"kind": "dm", "id": "a\0b"}}, 400, "peer.id has a NUL character"),
    ],
)
async def test_what_is_wrong_is_said_and_leaves_no_row(
    tmp_path: Path, clock: trio.testing.MockClock, changes: dict[str, Any], status: int, word: str
) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        response = await client.post(PATH, json=message(**changes))
        assert response.status_code == status
        assert word in response.json()["error"]["message"]
        assert await site.rows() == []


@pytest.mark.parametrize("wait", ["-1", "121", "nan", "inf", "soon", ""])
async def test_a_wrong_wait_is_said_and_leaves_no_row(tmp_path: Path, clock: trio.testing.MockClock, wait: str) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        response = await client.post(f"{PATH}?wait={wait}", json=message())
        assert response.status_code == 400
        assert "wait" in response.json()["error"]["message"]
        assert await site.rows() == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"null", b"[" * 40_000, b'{"peer":' * 10_000, b'{"text": "\\ud800"}', b"{} {}", b"NaN"],
    ids=["nothing", "cut", "binary", "null", "deep-list", "deep-object", "surrogate", "two", "nan"],
)
async def test_garbage_is_400_and_leaves_no_row(tmp_path: Path, clock: trio.testing.MockClock, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {token_of('write')}", "Content-Type": "application/json"}
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(request("POST", PATH, headers=headers, body=body))
        assert (answer.status, answer.code) == (400, "bad_request")
        assert await site.rows() == []


@pytest.mark.parametrize(("start", "encoding"), [(b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le")])
async def test_a_byte_order_mark_and_half_an_emoji_cost_nothing(
    tmp_path: Path, clock: trio.testing.MockClock, start: bytes, encoding: str
) -> None:
    headers = {"Authorization": f"Bearer {token_of('write')}", "Content-Type": "application/json"}
    body = start + json.dumps(message("half \ud83d")).encode(encoding)
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(request("POST", PATH, headers=headers, body=body))
        assert answer.status == 202
        [row] = await site.rows()
        assert row.envelope.text == "half \ufffd"


async def test_a_full_inbox_is_429(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    config = configuration(limits=LimitsSection(inbox_backlog=1))
    async with open_site(tmp_path, config) as site, site.client("write") as client:
        await client.post(PATH, json=message("/demo-tool x"))
        await trio.sleep(1)
        await client.post(PATH, json=message("waits", event_key="waits"))
        response = await client.post(PATH, json=message("too many"))
        assert (response.status_code, response.json()["error"]["code"]) == (429, "overloaded")
        assert response.headers["Retry-After"] == "5"
        assert (await client.post(PATH, json=message("waits", event_key="waits"))).json()["duplicate"]
        assert len(await site.rows()) == 2


async def test_nothing_is_taken_while_draining(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        site.gateway.enter("draining")
        response = await client.post(PATH, json=message())
        assert (response.status_code, response.json()["error"]["code"]) == (503, "draining")
        assert response.headers["Retry-After"] == "5"
        assert await site.rows() == []


async def test_a_store_that_refuses_is_503(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.client("write") as client:
        site.fill_disk()
        responses = [await client.post(PATH, json=message("x" * 50_000)) for _ in range(5)]
        refused = [response for response in responses if response.status_code != 202]
        assert refused
        assert {(r.status_code, r.json()["error"]["code"], r.headers["Retry-After"]) for r in refused} == {
            (503, "unavailable", "5")
        }
        assert len(await site.rows()) == len(responses) - len(refused)
