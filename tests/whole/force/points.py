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
    Point("journaled", "The message is committed; it is not acknowledged to its platform.", f"{STORE}.add_inbound", "after"),
    Point("acknowledged", "The message is acknowledged; no turn has begun.", f"{STORE}.start_turn", "before"),
    Point("turn_started", "The turn is committed as begun; the agent has not been called.", f"{STORE}.start_turn", "after"),
    Point("acted", "The agent has done its action; it has not answered.", "tests.whole.scripted.recorder:Recorder.act", "after"),
    Point("agent_ran", "The agent has answered; the end is not committed.", f"{STORE}.end_inbound", "before"),
    Point("ended", "The end and the reply are committed; the reply is not in the mailbox.", f"{STORE}.end_inbound", "after"),
    Point("taken", "The account has taken the reply from its mailbox.", f"{STORE}.mark_sending", "before"),
    Point("sending", "The reply is committed as `sending`; its platform has not been called.", f"{STORE}.mark_sending", "after"),
    Point("called", "The platform has shown it; the receipt is not committed.", f"{STORE}.settle_outbound", "before"),
    Point("settled", "The receipt is committed.", f"{STORE}.settle_outbound", "after"),
)
"""One message from the wire to its receipt."""

ASK = (
    Point("asked", "The request is committed; nobody has seen it.", f"{STORE}.add_approval", "after"),
    Point("answering", "Somebody has answered the request; the answer is not committed.", f"{STORE}.vote_approval", "before"),
    Point("answered", "The answer is committed; the waiting turn does not have it.", f"{STORE}.vote_approval", "after"),
    Point("using", "The turn is about to use the permission up.", f"{STORE}.consume_approval", "before"),
    Point("used", "The permission is used up; the agent does not have the answer.", f"{STORE}.consume_approval", "after"),
)
"""One request for permission, from the turn that asks to its answer."""

GROW = (
    Point("begun", "The beginning of a growing reply is committed; it is not in the mailbox.", f"{STORE}.add_outbound", "after"),
    Point(
        "shown",
        "The beginning is shown; more of the reply is about to be shown.",
        "gatewayd.hub.turns.growth:Growth._grow",
        "before",
    ),
    Point(
        "growing",
        "More of the reply is shown; it is not complete.",
        "gatewayd.hub.accounts.account:AccountActor.grow",
        "after",
    ),
)
"""A reply that grows, from its beginning to its end."""

DOUBT = (
    Point(
        "looking_up",
        "A reply of unknown outcome is about to be looked up.",
        "gatewayd.channels.slack.channel:SlackChannel.find_sent",
        "before",
    ),
    Point(
        "looked_up",
        "Slack has told what became of the reply; nothing of it is committed.",
        "gatewayd.channels.slack.channel:SlackChannel.find_sent",
        "after",
    ),
)
"""The reconciliation of a reply, after another kill."""

UPLOAD = (
    Point("uploaded", "Slack has the bytes of a file; nobody sees it.", "gatewayd.channels.slack.api:SlackApi.upload", "after"),
    Point(
        "file_shown",
        "Slack shows the file; the id of its message is not known.",
        "gatewayd.channels.slack.files:Files._complete",
        "after",
    ),
)
"""A file, from its bytes to the message that shows it."""

BACKFILL = (
    Point(
        "read_back",
        "What was missed in one channel is delivered; the other channels are not read.",
        "gatewayd.channels.slack.receiving.backfill:Backfill._read_channel",
        "after",
    ),
    Point(
        "reading_threads",
        "The channels are read; the threads are not.",
        "gatewayd.channels.slack.receiving.backfill:Backfill._read_thread",
        "before",
    ),
)
"""What was said while nobody listened."""

COMMITS = (
    Point("in_transaction", "Statements have run in a transaction; it is not committed.", f"{WRITER}:_Job.run", "after"),
    Point("committed", "A transaction is committed; its callers do not know it.", f"{WRITER}:Writer._note", "before"),
)
"""Any write, whosever it is."""

START = (
    Point(
        "store_open", "The store is open; the rows of the last process are not recovered.", f"{STORE}.recover_outbound", "before"
    ),
    Point(
        "sorted",
        "Replies with an unknown outcome are marked, or put back in doubt; messages are not loaded.",
        f"{STORE}.recover_outbound",
        "after",
    ),
    Point(
        "resumed",
        "The waiting messages are in their lanes; no account is open.",
        "gatewayd.hub.accounts.manager:ChannelManager.run",
        "before",
    ),
    Point(
        "serving",
        "The accounts are open; the HTTP server is not.",
        "gatewayd.web.server.server:GatewayServer.serve",
        "before",
    ),
)
"""The beginning of a process."""

STOP = (
    Point(
        "draining",
        "The daemon was told to stop; nothing has stopped.",
        "gatewayd.hub.accounts.manager:ChannelManager.drain",
        "before",
    ),
    Point(
        "drained",
        "The accounts are closed; the HTTP server and the agents are not.",
        "gatewayd.hub.accounts.manager:ChannelManager.drain",
        "after",
    ),
)
"""The end of one that was asked to."""

POINTS = {point.name: point for point in (*WALK, *ASK, *GROW, *DOUBT, *UPLOAD, *BACKFILL, *COMMITS, *START, *STOP)}
"""All, by their names."""
