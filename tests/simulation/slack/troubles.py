"""What happens to the connections of Socket Mode."""

from random import Random
from typing import Final

import trio

from tests.fakes.slack_platform.delivery.socket_mode import Connection
from tests.simulation.slack.account import SlackAccount

_TROUBLES: Final = ("refresh", "warning", "cut", "half a frame", "silence", "deaf", "lingers", "garbage")


async def trouble(account: SlackAccount, nursery: trio.Nursery, rng: Random) -> None:
    """Refreshes, cuts, silence and the like, as often as calls go wrong; and all of them go in an outage. It never ends."""
    while True:
        await trio.sleep(rng.uniform(0.5, 20.0))
        if account.weather.down:
            for connection in list(account.slack.connections):
                await connection.socket.cut()
        elif account.slack.connections and rng.random() < 2 * account.weather.chance:
            how = rng.choice(_TROUBLES)
            account.count(f"Slack: connections that meet: {how}")
            await _meet(account, nursery, rng.choice(account.slack.connections), how)


async def _meet(account: SlackAccount, nursery: trio.Nursery, connection: Connection, how: str) -> None:
    match how:
        case "refresh" | "warning":
            nursery.start_soon(_refresh, account, connection, how)
        case "cut":
            await connection.socket.cut()
        case "half a frame":
            await connection.socket.cut(in_the_middle_of='{"type": "events_api"}')
        case "silence":
            connection.socket.silent = True
        case "deaf":
            connection.socket.deaf = True
        case "lingers":
            connection.socket.lingers = True
        case "garbage":
            nursery.start_soon(_garbage, connection)


async def _refresh(account: SlackAccount, connection: Connection, how: str) -> None:
    """As Slack renews a connection; a warning alone may come, too."""
    try:
        await account.slack.socket_mode.disconnect("refresh_requested" if how == "refresh" else "warning", connection)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def _garbage(connection: Connection) -> None:
    try:
        await connection.socket.send("\x00 no JSON")
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return
