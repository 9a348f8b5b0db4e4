"""What a run has said at last, kept from its stream: servers do not store an answer that has no end. Pure."""

from gatewayd.agents.opencode.server.wire import TEXT_MAX


class LastText:
    """The text of the newest message, in its parts, as long as no tool was used behind it."""

    def __init__(self) -> None:
        self._message = ""
        self._tool = ""
        self._parts: dict[str, list[str]] = {}
        self._size = 0

    @property
    def text(self) -> str:
        """Nothing, where it is too long to be an answer."""
        return "\n\n".join(map("".join, self._parts.values())).strip() if self._size <= TEXT_MAX else ""

    def add(self, piece: str, *, message: str = "", part: str = "") -> None:
        if part < self._tool:
            return
        if message != self._message:
            self.clear()
            self._message = message
        self._size += len(piece)
        if self._size <= TEXT_MAX:
            self._parts.setdefault(part, []).append(piece)

    def put(self, text: str, *, message: str, part: str) -> None:
        """All of a part: pieces of it may have been missed."""
        self._size -= sum(map(len, self._parts.pop(part, ())))
        self.add(text, message=message, part=part)

    def use_tool(self, part: str) -> None:
        """A tool is used in this part. The ids of parts sort in time, but news of an older part may come later."""
        self._tool = max(self._tool, part)
        if all(other < part for other in self._parts):
            self.clear()

    def clear(self) -> None:
        self._parts.clear()
        self._size = 0
