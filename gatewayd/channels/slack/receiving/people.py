"""The names of the people who write, as far as Slack has told them."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import anyio
from msgspec import Raw, Struct

from gatewayd.actor.wakeup import Wakeup
from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.receiving.text import one_line
from gatewayd.channels.slack.wire.events import Profile, UserInfo
from gatewayd.model.errors import GatewayError, SendRejected, TryAgain

MOST_PEOPLE: Final = 5_000
MOST_WANTED: Final = 200
LOOK_UP_SECONDS: Final = 3.0
AGAIN_SECONDS: Final = 6 * 3600.0
"""After this time a name is looked up again; until then the old one is shown. Also for those whose name was not to be had."""
PAUSE_SECONDS: Final = 0.7
"""Between two look-ups in the background: users.info takes 100 calls a minute ("Rate limits", Tier 4)."""
MOST_AT_ONCE: Final = 10
AFTER_FAILURE_SECONDS: Final = 60.0

_PEOPLE: Final = re.compile(rb'"(?:user|user_id|author_id)": ?"([UW][A-Z0-9]{2,40})"|<@([UW][A-Z0-9]{2,40})[|>]')


class _Known(Struct):
    name: str | None
    until: float


class People:
    """A bounded cache of users.info. Nothing waits long for it: somebody who is not known yet has their id alone."""

    def __init__(self, api: SlackApi, now: Callable[[], float]) -> None:
        self._api = api
        self._now = now
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._wanted: dict[str, None] = {}
        self._not_before = 0.0
        self._wake = Wakeup()

    def name_of(self, user: str) -> str | None:
        """What they are called, if it is known. Otherwise it is looked up, for the next time."""
        known = self._known.get(user)
        if user and (known is None or known.until < self._now()) and len(self._wanted) < MOST_WANTED:
            self._wanted[user] = None
            self._wake.notify()
        return None if known is None else known.name

    def note(self, user: str, profile: Profile) -> None:
        """Slack has told their name along with a message."""
        if user and (profile.display_name or profile.real_name):
            self._keep(user, profile)

    async def run(self) -> None:
        """Look up those whose names were missing, until cancelled.

        :raises NeedsOperator: Slack does not accept the token any more.
        """
        while True:
            await self._wake.take()
            while self._wanted:
                user = next(iter(self._wanted))
                await anyio.sleep(await self._look_up(user))
                self._wanted.pop(user, None)

    async def learn(self, users: Iterable[str], *, within_seconds: float) -> None:
        """Look up those who are not known, as far as it can be done in this time. After a failure nobody waits for a while."""
        strangers = [user for user in dict.fromkeys(users) if user not in self._known][:MOST_AT_ONCE]
        if not strangers or self._now() < self._not_before:
            return
        self._not_before = self._now() + AFTER_FAILURE_SECONDS
        with suppress(GatewayError), anyio.move_on_after(within_seconds):
            for user in strangers:
                await self._look_up(user)
            self._not_before = 0.0

    async def meet(self, payloads: Iterable[bytes | Raw], *, us: str, within_seconds: float) -> None:
        """The same for those who wrote, and who are mentioned, in the JSON of events and messages, but for ourselves."""
        matches = (match for payload in payloads for match in _PEOPLE.finditer(payload))
        found = (match[match.lastindex or 0].decode() for match in matches)
        await self.learn((user for user in found if user != us), within_seconds=within_seconds)

    async def _look_up(self, user: str) -> float:
        """Returns how long to wait before the next one."""
        try:
            info = await self._api.ask("users.info", {"user": user}, UserInfo, purpose="fetch", timeout_seconds=LOOK_UP_SECONDS)
        except TryAgain as error:
            return error.after_seconds or PAUSE_SECONDS
        except SendRejected:  # nobody of this name, or the scope users:read is missing
            self._keep(user, Profile())
        else:
            self._keep(user, info.user.profile, info.user.name)
        return PAUSE_SECONDS

    def _keep(self, user: str, profile: Profile, handle: str = "") -> None:
        """The name that they chose to be called by is the display name; many have none ("User object", ``profile``)."""
        name = one_line(profile.display_name or profile.real_name or handle)
        self._known[user] = _Known(name or None, self._now() + AGAIN_SECONDS)
        self._known.move_to_end(user)
        while len(self._known) > MOST_PEOPLE:
            self._known.popitem(last=False)
