"""One prompt, in the moments that a real process seldom hits."""

import anyio
import msgspec
import structlog
from msgspec import Raw
from trio.testing import MockClock

from gatewayd.agents.acp.connection import Connection
from gatewayd.agents.acp.turn.grace import GracePeriod
from gatewayd.agents.acp.turn.prompt import IncomingCancel, IncomingPermission, Limits, Prompt
from gatewayd.agents.acp.wire import PermissionOption, PermissionRequest, ToolCallFields
from gatewayd.model.errors import AgentFailed
from gatewayd.model.records.approval import Decision, ToolRequest
from tests.agents.acp.rig import Answer, FakeTurn, allow, never
from tests.agents.acp.test_connection import Going, Heard, Silent


class Scene:
    """A prompt on a connection whose other side says nothing by itself."""

    def __init__(self, answer: Answer = allow) -> None:
        self.turn = FakeTurn("s", "do it", answer)
        self.connection = Connection(lambda line: None)
        self.told = Going()
        self.prompt = Prompt(self.turn, "s", self.connection, Limits(600, 4), GracePeriod(), structlog.get_logger("test"))
        self.failures: list[AgentFailed] = []

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self.connection.run, self.told, Silent([]), Heard())
            try:
                await self.prompt.run()
            except AgentFailed as error:
                self.failures.append(error)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    def answers(self) -> list[object]:
        """What the agent was answered, shortened."""
        return [
            line["error"]["code"] if "error" in line else line["result"]["outcome"].get("optionId", "cancelled")
            for line in self.told.lines
            if "method" not in line
        ]


def asked(command: str, *, number: int = 7, raw_input: bytes | None = None) -> IncomingPermission:
    shown = msgspec.json.encode({"command": command}) if raw_input is None else raw_input
    options = (PermissionOption("yes", "allow_once"), PermissionOption("no", "reject_once"))
    call = ToolCallFields("c", kind="execute", raw_input=Raw(shown))
    return IncomingPermission(number, PermissionRequest("s", call, options))


def text(words: str, message_id: str | None = None) -> Raw:
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": words}, "messageId": message_id}
    return Raw(msgspec.json.encode(update))


async def test_an_answer_is_never_that_of_another_request_with_the_same_id(autojump_clock: MockClock) -> None:
    """A request is taken back and its id is used again, while the answer to it is being committed."""
    committed = anyio.Event()

    async def decide(request: ToolRequest) -> Decision:
        if "harmless" not in request.input:
            return await never(request)
        with anyio.CancelScope(shield=True):
            await committed.wait()
        return Decision("allowed")

    scene = Scene(decide)
    async with anyio.create_task_group() as group:
        group.start_soon(scene.run)
        for item in (asked("harmless"), IncomingCancel(7), asked("rm -rf /")):
            await scene.prompt.deliver(item)
            await anyio.wait_all_tasks_blocked()
        committed.set()
        await anyio.wait_all_tasks_blocked()
        assert len(scene.turn.requests) == 2
        assert scene.answers() == [-32800]
        group.cancel_scope.cancel()


async def test_more_requests_than_anybody_answers_are_refused(autojump_clock: MockClock) -> None:
    scene = Scene(never)
    async with anyio.create_task_group() as group:
        group.start_soon(scene.run)
        for number in range(70):
            await scene.prompt.deliver(asked("ls", number=number))
        await scene.prompt.deliver(asked("ls", number=0))
        await anyio.wait_all_tasks_blocked()
        assert scene.answers() == [-32602] * 7
        group.cancel_scope.cancel()


async def test_an_input_that_cannot_be_shown_is_refused(autojump_clock: MockClock) -> None:
    scene = Scene()
    async with anyio.create_task_group() as group:
        group.start_soon(scene.run)
        await scene.prompt.deliver(asked("", raw_input=b'{"command": 1e999}'))
        await anyio.wait_all_tasks_blocked()
        assert (scene.answers(), scene.turn.requests) == ([-32602], [])
        group.cancel_scope.cancel()


async def test_a_call_with_a_long_id_is_passed_over_and_its_permission_is_refused(autojump_clock: MockClock) -> None:
    scene = Scene()
    async with anyio.create_task_group() as group:
        group.start_soon(scene.run)
        await scene.prompt.deliver(Raw(msgspec.json.encode({"sessionUpdate": "tool_call", "toolCallId": "c" * 201})))
        await scene.prompt.deliver(IncomingPermission(7, PermissionRequest("s", ToolCallFields("c" * 201), ())))
        await anyio.wait_all_tasks_blocked()
        assert (scene.answers(), scene.turn.requests, scene.turn.events) == ([-32602], [], [])
        group.cancel_scope.cancel()


async def test_a_request_that_comes_when_the_prompt_is_over_is_cancelled(autojump_clock: MockClock) -> None:
    scene = Scene()
    async with anyio.create_task_group() as group:
        group.start_soon(scene.run)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    await scene.prompt.deliver(text("late"))
    await scene.prompt.deliver(asked("ls"))
    assert scene.turn.requests == []


async def test_what_cannot_be_read_is_passed_over(autojump_clock: MockClock) -> None:
    scene = Scene()
    async with anyio.create_task_group() as group:
        group.start_soon(scene.run)
        for update in (
            b"7",
            b"{}",
            b'{"sessionUpdate": "agent_message_chunk"}',
            b'{"sessionUpdate": "tool_call", "toolCallId": 7}',
        ):
            await scene.prompt.deliver(Raw(update))
        await scene.prompt.deliver(text("still here"))
        await anyio.wait_all_tasks_blocked()
        assert scene.turn.streamed == "still here"
        group.cancel_scope.cancel()
