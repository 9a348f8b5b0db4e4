"""Response bodies that go on for a long time: event streams, and forwarded responses."""

from abc import abstractmethod
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from quart import Response, request
from quart.wrappers.response import ResponseBody

EVENT_STREAM = "text/event-stream"
NO_BUFFERING = {"X-Accel-Buffering": "no"}
"""nginx would hold events back without this header."""


class StreamedBody(ResponseBody):
    """A body that is closed when its client leaves. A generator would not be: Quart abandons it in the middle."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    @abstractmethod
    async def __anext__(self) -> bytes: ...

    @abstractmethod
    async def aclose(self) -> None:
        """Release what the body holds. Called at the end of the response, sent or not; a second time is no error."""


def event_stream(body: StreamedBody) -> Response:
    """The response to the present request; to a HEAD request its head alone, and the body is dropped unopened."""
    head_only = request.method == "HEAD"
    response = Response(b"" if head_only else body, headers=NO_BUFFERING, content_type=EVENT_STREAM)
    if not head_only:
        response.timeout = None
    return response
