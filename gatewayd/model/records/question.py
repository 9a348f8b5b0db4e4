"""What an agent asks its user, and what became of it."""

from msgspec import Struct

from gatewayd.model.lifecycle import QuestionState


class Option(Struct, frozen=True, omit_defaults=True):
    """One answer that is offered. ``label`` is what the agent gets back."""

    label: str
    description: str = ""


class Question(Struct, frozen=True, omit_defaults=True):
    """``options`` may be empty; free text is always an answer. ``multiple``: more than one label may be chosen.

    ``ref`` is the core's own id of it, when that is unique for ever: asked again under it after a restart, a question that
    was answered is not shown again.
    """

    text: str
    options: tuple[Option, ...] = ()
    multiple: bool = False
    ref: str | None = None


class QuestionRow(Struct, frozen=True, omit_defaults=True):
    """A question that was asked in a chat. Found again by (turn_id, ordinal). ``answers`` and ``answered_by`` are set once."""

    id: str
    turn_id: str
    ordinal: int
    session_key: str
    question: Question
    state: QuestionState
    created_at: float
    expires_at: float
    answers: tuple[str, ...] = ()
    answered_by: str | None = None
    ended_at: float | None = None
