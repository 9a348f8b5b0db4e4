"""Buttons ("Component Reference"). Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gatewayd.channels.discord.sending.render import units_in
from gatewayd.kit.text import is_blank, sanitise
from gatewayd.model.errors import SendRejected
from gatewayd.model.message.payload import Choice

Component = Mapping[str, Any]

MOST_ROWS: Final = 5
"""Of one message ("Component Reference", "Legacy Message Component Behavior")."""
BUTTONS_IN_ROW: Final = 5
OPTIONS_IN_MENU: Final = 25
"""Of a select menu ("String Select")."""
LONGEST_LABEL: Final = 80
"""Characters ("Button", ``label``)."""
LONGEST_OPTION: Final = 100
"""Characters ("String Select", ``options.label``)."""

_ROW, _BUTTON, _SELECT = 1, 2, 3
_SECONDARY: Final = 2  # grey: no choice looks like the right one
_MARK: Final = "/"


def components_of(choices: Sequence[Sequence[Choice]]) -> list[Component]:
    """The rows of buttons; where they are too many, select menus.

    :raises SendRejected: more choices than a message can have.
    """
    rows = [row[at : at + BUTTONS_IN_ROW] for row in choices for at in range(0, len(row), BUTTONS_IN_ROW)]
    if len(rows) <= MOST_ROWS:
        return [_row([_button(choice, n, at) for at, choice in enumerate(row)]) for n, row in enumerate(rows)]
    flat = [choice for row in choices for choice in row]
    if len(flat) > MOST_ROWS * BUTTONS_IN_ROW:
        return _menus(flat)
    rows = [flat[at : at + BUTTONS_IN_ROW] for at in range(0, len(flat), BUTTONS_IN_ROW)]
    return [_row([_button(choice, n, at) for at, choice in enumerate(row)]) for n, row in enumerate(rows)]


def data_of(custom_id: str) -> str:
    """The data of the choice behind a ``custom_id``, or a value of a select menu."""
    place, mark, data = custom_id.partition(_MARK)
    return data if mark and place.replace("-", "").isdigit() else custom_id


def _menus(choices: Sequence[Choice]) -> list[Component]:
    if len(choices) > MOST_ROWS * OPTIONS_IN_MENU:
        raise SendRejected(f"too many buttons: {len(choices)}, at most {MOST_ROWS * OPTIONS_IN_MENU}")
    parts = [choices[at : at + OPTIONS_IN_MENU] for at in range(0, len(choices), OPTIONS_IN_MENU)]
    return [
        _row(
            [
                {
                    "type": _SELECT,
                    "custom_id": f"menu-{n}",
                    "options": [
                        {"label": _label(it, LONGEST_OPTION), "value": f"{n}-{at}{_MARK}{it.data}"} for at, it in enumerate(part)
                    ],
                }
            ]
        )
        for n, part in enumerate(parts)
    ]


def _row(inside: list[Component]) -> Component:
    return {"type": _ROW, "components": inside}


def _button(choice: Choice, row: int, column: int) -> Component:
    """``custom_id`` is unique in its message, and comes back with the press; two choices may have the same data."""
    return {
        "type": _BUTTON,
        "style": _SECONDARY,
        "label": _label(choice, LONGEST_LABEL),
        "custom_id": f"{row}-{column}{_MARK}{choice.data}",
    }


def _label(choice: Choice, most: int) -> str:
    label = choice.data if is_blank(choice.label) else " ".join(sanitise(choice.label).split())
    if units_in(label) <= most:
        return label
    while units_in(label) > most - 1:
        label = label[:-1]
    return label + "…"
