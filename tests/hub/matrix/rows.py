"""The rows of the matrix: every command x kind of place x kind of sender x kind of message, and where their answers stand.

Rows come from the code: the table of commands and the roles. Answers stand in answers.txt, written by hand.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, get_args

from msgspec import Struct

from gatewayd.model.message.commands import COMMANDS, When
from gatewayd.model.message.roles import Role

Place = Literal["dm", "group"]
Form = Literal["own", "edited", "forwarded", "via_bot", "caption", "connector"]
BESIDE: Final = ("approver", "stranger", "bot")
"""Kinds of senders beside the roles: who may answer requests, who may not talk, and another bot."""
ROLES_OF: Final[dict[Place, tuple[Role, ...]]] = {
    "dm": ("own_chat", "operator"),
    "group": ("writer", "operator", "commander", "member"),
}
WORDS_BESIDE: Final = {
    "/new TEXT": "/new fresh *start*",
    "/remind": "/remind me",
    "@other": "/stop@other_bot",
    "@us": "/stop@echo_bot",
}
"""What is sent beside each command by its name: with a text behind it, what is no command of ours, another bot's, and our own."""
ANSWERS: Final = Path(__file__).parent / "answers.txt"


class Row(Struct, frozen=True):
    place: Place
    word: str
    form: Form
    sender: str

    @property
    def when(self) -> When:
        """When the command that the word is would be acted on."""
        return next((command.when for command in COMMANDS if command.name == self.word), "at_once")


def senders(place: Place) -> tuple[str, ...]:
    return (*ROLES_OF[place], *BESIDE)


def rows() -> Iterator[Row]:
    for place in get_args(Place):
        for word in (*(command.name for command in COMMANDS), *WORDS_BESIDE):
            for form in get_args(Form):
                yield from (Row(place, word, form, sender) for sender in senders(place))


def answers() -> dict[Row, str]:
    """What should become of each row, by answers.txt: a head ``[place] senders…``, then lines ``word form answers…``.

    :raises ValueError: a row is answered twice.
    """
    found: dict[Row, str] = {}
    place, names = "", [""]
    for line in ANSWERS.read_text().splitlines():
        words = line.partition("#")[0].replace("/new TEXT", "/new~TEXT").split()
        if not words:
            continue
        if words[0].startswith("["):
            place, names = words[0].strip("[]"), words[1:]
            continue
        word, form, *given = words
        for sender, answer in zip(names, given, strict=True):
            row = Row(place, word.replace("~", " "), form, sender)  # type: ignore[arg-type]
            if row in found:
                raise ValueError(f"{row} is answered twice")
            found[row] = answer
    return found
