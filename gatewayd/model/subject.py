"""What a row of the outbox is about. A prompt has the id of its request or question as its subject. The other kinds of rows are
named here. Pure."""

from typing import Final

SIGN: Final = "sign"
"""A sign of life of a turn: a sentence beside its reply."""
_REPLY: Final = "re_"
_AGAIN: Final = "/again"
_FILE: Final = "fi_"
_ANEW: Final = "/anew"


def about_reply(code: str) -> str:
    """The subject of the notice that the reply with this code may not have arrived."""
    return _REPLY + code


def again(code: str) -> str:
    """The subject of a repetition of that reply."""
    return about_reply(code) + _AGAIN


def is_about_reply(subject: str) -> bool:
    """Whether it is of such a notice, or of a repetition."""
    return subject.startswith(_REPLY)


def of_file(file: str) -> str:
    """The subject of a row that sends this file. By it the rows of a file are found."""
    return _FILE + file


def is_file(subject: str) -> bool:
    return subject.startswith(_FILE)


def anew(request: str) -> str:
    """The subject of an edit which says that a prompt of this request or question is shown anew below."""
    return request + _ANEW


def request_of(subject: str) -> str | None:
    """The id of the request or question: that of a notice about one has a word behind a slash. None: it is about a reply, or a
    file."""
    return None if is_about_reply(subject) or is_file(subject) else subject.partition("/")[0]


def is_repetition(subject: str) -> bool:
    return is_about_reply(subject) and subject.endswith(_AGAIN)
