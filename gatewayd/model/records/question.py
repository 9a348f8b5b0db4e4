"""Questions of an agent to its user, and the answers."""

from msgspec import Struct

from gatewayd.model.lifecycle import QuestionState


class Option(Struct, frozen=True, omit_defaults=True):
    """One answer to choose. The agent gets its ``label``."""

    label: str
    description: str = ""


class Question(Struct, frozen=True, omit_defaults=True):
    """``options`` may be empty: free text is always an answer. ``multiple``: more than one label may be chosen.

    ``ref`` is the core's own id of the question, if it is unique for ever. An answered question with this id is not shown again
    when the core asks again after a restart.
    """

    text: str
    options: tuple[Option, ...] = ()
    multiple: bool = False
    ref: str | None = None


class QuestionRow(Struct, frozen=True, omit_defaults=True):
    """A question in a chat. (turn_id, ordinal) identifies it after a restart. ``answers`` and ``answered_by`` are set once."""

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
