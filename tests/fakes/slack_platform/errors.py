"""Slack's refusals: an answer with ``"ok": false`` and the name of the error (docs.slack.dev/apis/web-api/#responses)."""

from typing import Any

Json = dict[str, Any]


class SlackError(Exception):
    """``fields`` are added to the answer, such as ``needed`` and ``provided``, or ``response_metadata``."""

    def __init__(
        self, name: str, *, status: int = 200, retry_after_seconds: int | None = None, fields: Json | None = None
    ) -> None:
        super().__init__(name)
        self.name = name
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.fields = fields or {}

    def answer(self) -> Json:
        return {"ok": False, "error": self.name, **self.fields}


def explained(name: str, *messages: str) -> SlackError:
    """An error whose ``response_metadata.messages`` says more (docs.slack.dev/apis/web-api/#responses)."""
    return SlackError(name, fields={"response_metadata": {"messages": list(messages)}})
