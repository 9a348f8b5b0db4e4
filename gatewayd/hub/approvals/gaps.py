"""Gaps in which presses were lost: some platforms do not repeat a press that came while nobody listened (``repeats_presses`` in
the manifest). After each gap of such an account, what waits for a press in its chats is shown anew, so that people see that they
have to press again.

A gap ends when the account is connected: after its opening, which is also the start of the daemon, or after an interruption. How
long it was does not matter: a press needs less than a second.
"""

from functools import partial

from gatewayd.actor.wakeup import Wakeup
from gatewayd.hub.approvals.desk import ApprovalDesk
from gatewayd.hub.approvals.questions import QuestionDesk
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.outbox.outbox import until_stored
from gatewayd.ports.store import Account


class Gaps:
    def __init__(self, context: Context, configured: Configured, desk: ApprovalDesk, questions: QuestionDesk) -> None:
        self._now = context.now
        self._configured = configured
        self._desk = desk
        self._questions = questions
        self._ended: dict[Account, float] = {}
        self._wake = Wakeup()

    def note_end(self, channel: str, account: str) -> None:
        """This account is connected again, or for the first time. Never waits."""
        plugin = self._configured.plugins.get(channel)
        if plugin is not None and plugin.buttons and not plugin.repeats_presses:
            self._ended[channel, account] = self._now()
            self._wake.notify()

    async def run(self) -> None:
        """Show anew, until cancelled. A gap that a crash leaves is followed by another one, that of the restart."""
        while True:
            await self._wake.take()
            while self._ended:
                account, ended_at = self._ended.popitem()
                await until_stored(partial(self._desk.show_anew, account, before=ended_at))
                await until_stored(partial(self._questions.show_anew, account, before=ended_at))
