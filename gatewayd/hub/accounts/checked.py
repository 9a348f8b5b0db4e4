"""What a driver hands over, with the types of its fields checked: it is read again from the store, in another life, too."""

from typing import TypeVar

import msgspec

from gatewayd.actor.border import Bug, describe, third_party

T = TypeVar("T", bound=msgspec.Struct)


def checked(given: object, kind: type[T]) -> T:
    """:raises Bug: it is none."""
    try:
        with third_party():
            return msgspec.convert(msgspec.to_builtins(given), kind)
    except Exception as error:
        raise Bug(f"the driver handed over what is no {kind.__name__}: {describe(error)}") from None
