"""The mailboxes of the accounts, as the outbox sees them: it posts to whichever there are."""

from collections.abc import Mapping
from typing import Protocol

from gatewayd.ports.store import OutboundRow


class Mailbox(Protocol):
    """One account's: hub/account.py."""

    def post(self, row: OutboundRow) -> None:
        """Take a committed row. Never waits."""


class Mailboxes:
    """Given to the outbox, which posts, and to the manager, which says what mailboxes there are."""

    def __init__(self) -> None:
        self._boxes: Mapping[tuple[str, str], Mailbox] = {}

    def replace(self, boxes: Mapping[tuple[str, str], Mailbox]) -> None:
        """These are the mailboxes from now on, by channel and account."""
        self._boxes = boxes

    def post(self, row: OutboundRow) -> None:
        """Hand a committed row to its account. Never waits. A row of an account that has none stays in the store."""
        box = self._boxes.get((row.channel, row.account))
        if box is not None:
            box.post(row)
