"""Keys that had another name before. An old name is an error that says the new one."""

from collections.abc import Mapping
from typing import Final

RENAMED: Final[Mapping[str, str]] = {
    "account_waiting": "account_backlog",
    "inbox_waiting": "inbox_backlog",
    "sender_waiting": "sender_backlog",
    "unasked": "auto_approve",
}
"""New names by old ones. An old name counts in the tables that have the new one."""
