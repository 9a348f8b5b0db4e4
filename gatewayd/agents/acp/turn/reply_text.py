"""What an agent says, put together from its chunks. Pure."""

from typing import Final

from gatewayd.agents.acp.wire import MessageChunk
from gatewayd.kit.json import Joiner

PARAGRAPH: Final = "\n\n"
_FEW: Final = 3
"""So many messages in a row, without a tool between them, are believed to be messages if they may be."""
LOOP_MESSAGES_MAX: Final = 20
"""OpenCode 1.18 calls its model again for ever where that breaks off, each time in a new message."""


class ReplyText:
    """The text so far, in the parts that tools are used between: what is said before and after a tool are two paragraphs."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._joiner = Joiner()
        self._begins_part = True
        self.length = 0

    def add(self, chunk: MessageChunk) -> str:
        """Take a chunk. What it adds to the text, as far as can be told by now; "" for nothing."""
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
        """A tool is used here."""
        self._begins_part = True

    @property
    def ends_in_text(self) -> bool:
        """Whether something was said, and no tool was used after it."""
        return not self._begins_part

    @property
    def is_looping(self) -> bool:
        """Whether it is message after message, each in several chunks, without a tool between them."""
        return bool(self._parts) and self._parts[-1].of_several_chunks > LOOP_MESSAGES_MAX

    def finish(self) -> str:
        """All of it: nothing more comes."""
        text = PARAGRAPH.join(part.text for part in self._parts)
        return (text + self._joiner.rest()).strip()


class _Part:
    """The messages between two tools, each in its chunks.

    Two messages are two paragraphs. But some agents give each chunk a message id of its own: where nearly no id comes twice, the
    chunks are one text if they are many, or if white space at their ends says so.
    """

    def __init__(self) -> None:
        self._messages: list[list[str]] = []
        self._id: str | None = None
        self._of_one_chunk = 0
        self._is_spaced = False

    def add(self, message_id: str | None, text: str) -> str:
        """The text with what is between it and the one before, as far as can be told by now."""
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
        """How many messages are certainly not a chunk with an id of its own."""
        return len(self._messages) - self._of_one_chunk

    @property
    def text(self) -> str:
        return self._between.join("".join(chunks) for chunks in self._messages)

    @property
    def _between(self) -> str:
        count = len(self._messages)
        are_chunks = self._of_one_chunk * 2 > count if count > _FEW else self._is_spaced and self._of_one_chunk == count
        return "" if are_chunks else PARAGRAPH
