"""docs/reference/commands.md says of every chat command what the table in the code says."""

import re
from pathlib import Path

from gatewayd.model.message.commands import COMMANDS, Command, May, When

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"
WHO: dict[May, str] = {
    "everybody": "everybody",
    "own": "everybody for their own; for others with a role",
    "role": "everybody; in a group with a role",
    "approver": "approvers",
    "asked": "the person who was asked",
}
WHEN: dict[When, str] = {
    "at_once": "at once",
    "in_place": "in order",
    "approval": "as an answer",
    "answer": "as an answer",
}


def line_of(command: Command) -> str:
    usage = f"{command.name} {command.argument}".strip()
    connectors = "yes" if command.connectors else "no"
    return f"| `{usage}` | {WHO[command.may]} | {WHEN[command.when]} | {connectors} | {command.help} |"


def test_the_page_has_the_table_of_the_code() -> None:
    found = re.findall(r"^\| `/.*$", PAGE.read_text(), re.MULTILINE)
    assert found == [line_of(command) for command in COMMANDS]
