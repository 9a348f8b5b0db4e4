"""The text of a reply, joined from its chunks. Pure."""

from typing import Final

from gatewayd.agents.acp.wire import MessageChunk
from gatewayd.kit.json import Joiner

PARAGRAPH: Final = "\n\n"
_FEW: Final = 3
"""Up to so many messages in a row, without a tool call between them, are taken for messages."""
LOOP_MESSAGES_MAX: Final = 20
"""OpenCode 1.18 calls a model that breaks off again without end, each time in a new message."""


class ReplyText:
    """The text so far. Tool calls divide it into parts: the texts before and after a call are two paragraphs."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._joiner = Joiner()
        self._begins_part = True
        self.length = 0

    def add(self, chunk: MessageChunk) -> str:
        """Add a chunk. Returns the new text, as far as it is known by now; "" for none."""
        text = self._joiner.take(chunk.content.text)
        if not text:
            return ""
        between = PARAGRAPH if self._begins_part and self._parts else ""
        if self._begins_part:
            self._parts.append(_Part())
            self._begins_part = False
        added = between + self._parts[-1].add(chunk.message_id, text)
        self.length += len(added)
        return added

    def use_tool(self) -> None:
        """A tool call comes here."""
        self._begins_part = True

    @property
    def ends_in_text(self) -> bool:
        """Whether there is text, and no tool call after it."""
        return not self._begins_part

    @property
    def is_looping(self) -> bool:
        """Whether there are too many messages, each of several chunks, without a tool call between them."""
        return bool(self._parts) and self._parts[-1].of_several_chunks > LOOP_MESSAGES_MAX

    def finish(self) -> str:
        """The whole text: no chunk comes any more."""
        text = PARAGRAPH.join(part.text for part in self._parts)
        return (text + self._joiner.rest()).strip()


class _Part:
    """The messages between two tool calls, each in its chunks.

    Two messages are two paragraphs. But some agents give each chunk a message id of its own. So where almost no id comes twice,
    the chunks are one text if they are many, or if they begin or end with white space.
    """

    def __init__(self) -> None:
        self._messages: list[list[str]] = []
        self._id: str | None = None
        self._of_one_chunk = 0
        self._is_spaced = False

    def add(self, message_id: str | None, text: str) -> str:
        """The text with the separator before it, as far as that is known by now."""
        if self._messages and message_id == self._id:
            self._of_one_chunk -= len(self._messages[-1]) == 1
            self._messages[-1].append(text)
            return text
        if self._messages:
            self._is_spaced = self._is_spaced or self._messages[-1][-1][-1].isspace() or text[0].isspace()
        self._messages.append([text])
        self._of_one_chunk += 1
        self._id = message_id
        return self._between + text if len(self._messages) > 1 else text

    @property
    def of_several_chunks(self) -> int:
        """The number of messages that are certainly no single chunk with an id of its own."""
        return len(self._messages) - self._of_one_chunk

    @property
    def text(self) -> str:
        return self._between.join("".join(chunks) for chunks in self._messages)

    @property
    def _between(self) -> str:
        count = len(self._messages)
        are_chunks = self._of_one_chunk * 2 > count if count > _FEW else self._is_spaced and self._of_one_chunk == count
        return "" if are_chunks else PARAGRAPH
