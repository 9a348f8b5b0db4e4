"""What the model, and so the agent, does in a run: the same words for both servers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

Answers = Sequence[Sequence[str]] | None


class Asking(Struct, frozen=True):
    """A question: its text and the labels of its options."""

    text: str
    options: tuple[str, ...] = ()
    multiple: bool = False


class ModelRun(Protocol):
    """The run of one prompt. ``text`` is the prompt."""

    text: str

    async def say(self, text: str) -> None:
        """A piece of the answer. What is said in the last step is the answer."""

    async def tool(self, name: str, input: Mapping[str, Any], *, call_id: str | None = None, ask: bool = True) -> str:
        """A step that calls a tool. Returns what the model gets: "ran", or why not."""

    async def tools(self, *calls: tuple[str, Mapping[str, Any]]) -> list[str]:
        """A step with several calls; OpenCode asks for them at once."""

    async def question(self, *questions: Asking) -> Answers: ...

    async def fail(self, reason: str) -> None:
        """The model's provider refuses. Never returns."""

    async def retry(self, reason: str) -> None:
        """The provider is tried again after a while (OpenCode tells so)."""

    async def cut(self, text: str) -> None:
        """The provider's stream ends in the middle of the answer. OpenCode calls the model again at once."""

    async def hang(self) -> None:
        """Nothing comes any more. Never returns."""


Script = Callable[[ModelRun], Awaitable[None]]

State = Literal["idle", "busy"]


async def echo(run: ModelRun) -> None:
    """What the model does when the test does not say."""
    await run.say(f"echo: {run.text}")
