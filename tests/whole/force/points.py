"""The points at which a process can die, named, in the order in which a message walks past them.

Each is the moment before or after one call of the real code. docs/reliability-points.md names them in the same words.
"""

from typing import Literal

from msgspec import Struct

STORE = "gatewayd.stores.sqlite.store:SqliteStore"
WRITER = "gatewayd.stores.sqlite.engine.writer"


class Point(Struct, frozen=True):
    """``target`` is ``module:Class.method``."""

    name: str
    says: str
    target: str
    moment: Literal["before", "after"]


WALK = (
    Point("received", "The message is parsed; nothing of it is committed.", f"{STORE}.add_inbound", "before"),
    Point("journaled", "It is committed; its platform has not been told.", f"{STORE}.add_inbound", "after"),
    Point("acknowledged", "Its platform has been told; no turn has begun.", f"{STORE}.start_turn", "before"),
    Point("turn_started", "The turn is committed as begun; the agent knows nothing of it.", f"{STORE}.start_turn", "after"),
    Point("acted", "The agent has had its effect and has not answered.", "tests.whole.scripted.recorder:Recorder.act", "after"),
    Point("agent_ran", "The agent has answered; the end is not committed.", f"{STORE}.end_inbound", "before"),
    Point("ended", "The end and the reply are committed; nobody has been handed the reply.", f"{STORE}.end_inbound", "after"),
    Point("taken", "The account has taken the reply from its mailbox.", f"{STORE}.mark_sending", "before"),
    Point("sending", "The reply is committed as being sent; its platform knows nothing of it.", f"{STORE}.mark_sending", "after"),
    Point("called", "The platform has shown it; the receipt is not committed.", f"{STORE}.settle_outbound", "before"),
    Point("settled", "The receipt is committed.", f"{STORE}.settle_outbound", "after"),
)
"""One message from the wire to its receipt."""

ASK = (
    Point("asked", "A request is committed; nobody was shown it.", f"{STORE}.add_approval", "after"),
    Point("answering", "Somebody has answered it; that is not committed.", f"{STORE}.vote_approval", "before"),
    Point("answered", "The answer is committed; the turn that waits has not heard of it.", f"{STORE}.vote_approval", "after"),
    Point("using", "The turn is about to use the permission up.", f"{STORE}.consume_approval", "before"),
    Point("used", "The permission is used up; the agent has not heard of it.", f"{STORE}.consume_approval", "after"),
)
"""One request for permission, from the turn that asks to its answer."""

COMMITS = (
    Point("in_transaction", "Statements are run in a transaction that is not committed.", f"{WRITER}:_Job.run", "after"),
    Point("committed", "A transaction is committed; nobody who waits for it knows.", f"{WRITER}:Writer._note", "before"),
)
"""Any write, whosever it is."""

START = (
    Point("store_open", "The store is open; nothing of the last process was looked at.", f"{STORE}.recover_outbound", "before"),
    Point(
        "sorted", "Replies nobody knows the end of are marked; messages are not taken up.", f"{STORE}.recover_outbound", "after"
    ),
    Point(
        "resumed",
        "What waited has its lanes again; no account is open.",
        "gatewayd.hub.accounts.manager:ChannelManager.run",
        "before",
    ),
    Point(
        "serving",
        "Accounts are open; the HTTP server is about to be.",
        "gatewayd.web.server.server:GatewayServer.serve",
        "before",
    ),
)
"""The beginning of a process."""

STOP = (
    Point("draining", "It was asked to stop; nothing has.", "gatewayd.hub.accounts.manager:ChannelManager.drain", "before"),
    Point(
        "drained",
        "Accounts are closed; the server and the agents are not.",
        "gatewayd.hub.accounts.manager:ChannelManager.drain",
        "after",
    ),
)
"""The end of one that was asked to."""

POINTS = {point.name: point for point in (*WALK, *ASK, *COMMITS, *START, *STOP)}
"""All, by their names."""
