"""Decoding what somebody else has written, who may be of another release or not gatewayd at all."""

from typing import TypeVar

import msgspec

T = TypeVar("T")


class Unreadable(Exception):
    """Not of the form that was expected; ``str(error)`` says where. ``is_json``: JSON, but of another form."""

    def __init__(self, where: str, *, is_json: bool) -> None:
        super().__init__(where)
        self.is_json = is_json


def decode(text: bytes | str, kind: type[T]) -> T:
    """JSON as ``kind``; keys that ``kind`` does not know are ignored, so that a newer daemon is understood.

    :raises Unreadable: whatever the text is.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise Unreadable(str(error), is_json=True) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(str(error), is_json=False) from None
    except RecursionError:
        raise Unreadable("it is nested too deeply", is_json=False) from None
