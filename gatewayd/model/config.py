"""The configuration as frozen structs: the keys that gatewayd itself defines.

The other keys of an account belong to its channel, those of an agent to its core. A second step decodes them
(``gatewayd.config``). The text under a field is its entry in docs/reference/configuration.md."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal, Protocol, get_args, runtime_checkable

from msgspec import Meta, Struct, field

from gatewayd.model.secret import Secret

DmScope = Literal["main", "per-peer", "per-channel-peer", "per-account-channel-peer"]
QueueMode = Literal["queue", "collect", "interrupt"]
DmPolicy = Literal["pairing", "allowlist", "open", "disabled"]
GroupPolicy = Literal["allowlist", "open", "disabled"]
Role = Literal["operator", "connector", "node"]
Scope = Literal["read", "write", "approvals", "pairing", "admin"]

SCOPES_OF_ROLE: Final[Mapping[Role, frozenset[Scope]]] = {
    "operator": frozenset(get_args(Scope)),
    "connector": frozenset(("read", "write")),
    "node": frozenset(("read",)),
}
"""The scopes that a token of each role can have. A program that brings messages never decides what an agent may do."""

Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z",
        description="a name of a-z, 0-9, _ and -, at most 64, beginning with a letter or digit",
    ),
]


class GatewaySection(Struct, frozen=True, forbid_unknown_fields=True):
    """[gateway]: the daemon itself."""

    state_dir: str | None = None
    """The directory of the store and the token. Default: $STATE_DIRECTORY (systemd), else $XDG_STATE_HOME/gatewayd. A directory
    in which other users can write is refused."""
    bind: str = "127.0.0.1:18790"
    """HOST:PORT of the HTTP server, for IPv6 [::1]:18790. Port 0 is a free port. A socket that systemd hands over
    (gatewayd.socket) is used instead."""
    public_url: str | None = None
    """The https URL at which the platforms reach this daemon, for webhooks. It has no path."""
    allowed_hosts: tuple[str, ...] = ()
    """More host names that a browser may use, besides the bind address, localhost and the host of public_url."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of your reverse proxies, e.g. ["127.0.0.1", "10.1.0.0/24"], and "unix" for a proxy on a Unix socket.
    Only their X-Forwarded-For and Forwarded headers are trusted. Never name a network that clients are in."""
    drain_seconds: Seconds = 20.0
    """The time that a stop gives running turns and unsent replies."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is logged."""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=67_108_864)] = 1_048_576
    """The size of the largest HTTP request body. A larger one gets 413."""
    webhook_accelerator: bool = True
    """true: webhooks bypass the HTTP framework, at a third of the cost. The responses are the same either way."""
    max_connections: Count = 1000
    """The number of open HTTP connections. More wait in the listen queue."""
    max_connections_per_address: Count = 250
    """The same for each client address (IPv6: each /64). More get 429. Connections of trusted_proxies are not counted; the
    requests that they forward are, by the client address in their headers."""
    stall_seconds: Annotated[float, Meta(ge=0.1, le=3600)] = 2.0
    """Code that blocks the event loop for so long is named in the log and in the status. Most often it is an agent that waits in
    blocking code."""


@runtime_checkable
class ChecksItself(Protocol):
    """A settings struct of a plug-in that checks more than types can, e.g. that webhook mode has a ``public_url``."""

    def problems(self, gateway: GatewaySection, /) -> Iterable[str]:
        """One sentence for each problem, without secrets. Called when the struct and [gateway] have no problem of their own."""


@runtime_checkable
class ChecksMachine(Protocol):
    """A settings struct of a plug-in that checks this machine, e.g. whether a module is missing."""

    def warnings(self) -> Iterable[str]:
        """One sentence for each finding, without secrets. Only ``gatewayd check-config`` calls it, never the daemon. So it may be
        slow, and may import the user's code."""


class SessionsSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[sessions]: how messages map to sessions, and how turns run."""

    dm_scope: DmScope = "per-account-channel-peer"
    """Who shares a session in direct messages: main (everybody), per-peer (one person on all channels, by identity_links),
    per-channel-peer (one person on one channel), per-account-channel-peer (one person with one account)."""
    identity_links: dict[str, tuple[str, ...]] = {}
    """The identities of one person: alice = ["telegram:1234", "slack:U99", "operator:alice"]. The scopes per-peer and
    per-channel-peer use them, and a quorum counts people by them. "operator:NAME" is the user of the token of that name."""
    queue_mode: QueueMode = "queue"
    """What happens to messages that arrive while a turn runs: queue (each gets a turn), collect (all of them get one turn),
    interrupt (the running turn is stopped, and a new one starts)."""
    turn_timeout_seconds: Seconds = 900.0
    """A turn that takes longer is stopped, and its lane goes on. The wait for an approval does not count."""
    max_turn_attempts: Annotated[int, Meta(ge=1, le=100)] = 10
    """The number of turns that one message may start before it is a dead letter, also over restarts. Each attempt waits longer
    than the one before. The wait for an agent that is not open is no attempt, and neither is a turn that a stop of the daemon
    ended."""
    thread_context: Annotated[int, Meta(ge=0, le=200)] = 20
    """Where a session begins in the middle of a thread of a group: how many of the thread's earlier messages its agent gets with
    the first one. Only those of people who may talk to it there. Not every channel can read them back."""


class OutboxSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[outbox]: replies that are not sent yet."""

    stale_after_seconds: Seconds = 86_400.0
    """A reply that waits longer is parked for the operator, not sent late."""
    max_attempts: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    """The number of attempts before a reply is a dead letter. An attempt that meets a rate limit counts, too."""
    send_timeout_seconds: Seconds = 60.0
    """A send that takes longer is cancelled, and its outcome is unknown."""
    concurrency: Annotated[int, Meta(ge=1, le=256)] = 16
    """The number of conversations of one account to which replies are sent at the same time."""


class LimitsSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[limits]: the bounds of queues."""

    inbox_backlog: Count = 10_000
    """The number of messages that wait for a turn, in all accounts. When it is reached, polls stop and webhooks get 503."""
    account_backlog: Count = 4_000
    """The same for each account. An account that reaches it takes no more messages; the others go on."""
    sender_backlog: Count = 100
    """The same for each sender of an account. More messages are journaled and dropped (sender_limit), and the sender is told so
    once."""
    turns: Count = 256
    """The number of turns that run at the same time, in all agents. Other lanes wait."""
    mailbox: Count = 256
    """The number of replies in memory for each account. More stay in the store."""
    event_rows: Count = 100_000
    """The number of stored events, for readers that resume."""


OPERATORS: Final = "operators"
"""The group that always exists: the people with a token of the scope approvals."""


class RetentionSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[retention]: how long messages, replies, requests and questions that have ended are kept. Those that wait are always
    kept, and so is the audit log."""

    keep_seconds: Annotated[float, Meta(ge=172_800, le=315_360_000)] = 2_592_000.0
    """Rows that ended longer ago are deleted, a few at a time. At least two days: a platform may deliver a message again, and
    the row shows that it is known (Telegram keeps an update for 24 hours)."""
    dead_letter_seconds: Annotated[float, Meta(ge=172_800, le=315_360_000)] = 7_776_000.0
    """The same for dead letters that nobody has retried or dropped."""
    max_megabytes: Annotated[int, Meta(ge=16, le=1_048_576)] = 4096
    """When the store is larger, the oldest rows that have ended are deleted earlier, but none younger than two days."""


class ApproverGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """[approvals.groups.NAME]: people who may answer requests in chats."""

    people: tuple[str, ...]
    """Who may answer: CHANNEL:ID, e.g. "telegram:1234"."""
    chats: tuple[str, ...] = ("origin",)
    """The chats that show the request: "origin" (the chat of the message) or CHANNEL:ACCOUNT:KIND:ID, e.g.
    "telegram:main:group:-100123"."""


class ApprovalRule(Struct, frozen=True, forbid_unknown_fields=True):
    """rules = [{ … }]: the first rule that matches decides. If none matches, an operator is asked."""

    action: Literal["allow", "ask", "deny"]
    """allow, ask or deny."""
    tool: str = "*"
    """The tool's name; * stands for any characters."""
    input: dict[str, str] = {}
    """Keys of the tool's input and their values, e.g. { command = "git status" }; * stands for any characters. In an allow rule
    it stands for none that can begin another command: ; & | < > ( ) $ ` \\ and line ends."""


class AgentApprovals(Struct, frozen=True, forbid_unknown_fields=True):
    """[agents.NAME.approvals]: what this agent may do, and who is asked."""

    rules: tuple[ApprovalRule, ...] = ()
    """The first rule that matches decides a request."""
    ask: tuple[str, ...] = (OPERATORS,)
    """The groups that are asked, one after the other. "operators" are the people with a token: HTTP, console and gatewayctl."""
    escalate_after_seconds: Seconds = 300.0
    """The next group sees a request that has no answer after this time."""
    quorum: Annotated[int, Meta(ge=1, le=20)] = 1
    """The number of different people who must allow a request. One denial denies it."""
    timeout_seconds: Seconds | None = None
    """Overrides approvals.timeout_seconds for this agent."""
    session_grant: Literal["off", "input", "tool"] = "input"
    """What "allow for this session" covers: off (it is not offered), input (the same tool with exactly the same input), tool (the
    tool with any input). Deny rules still hold."""


class ApprovalsSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[approvals]: tool requests that wait for an operator."""

    timeout_seconds: Seconds = 900.0
    """A request without an answer expires after this time. The tool is not run, and the agent is told so."""
    max_pending: Count = 1000
    """The number of pending requests, and of open questions of agents to their users. More are refused."""
    question_timeout_seconds: Seconds = 3600.0
    """A question of an agent to its user expires after this time."""
    groups: dict[Name, ApproverGroup] = {}
    """People who may answer in chats, by the name of their group."""


class TokenConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[auth.tokens.NAME]: one bearer token. Where there is none, the first start makes an operator token."""

    token: Secret
    """The token: { file = "…" }, { env = "…" } or { credential = "…" }; at least 16 characters."""
    role: Role = "operator"
    """operator (a person), connector (a program that brings messages) or node (a program that only reads)."""
    scopes: tuple[Scope, ...] = ("read",)
    """read, write, approvals, pairing, admin (admin includes the others). A connector can have read and write, a node read."""
    accounts: tuple[str, ...] | None = None
    """The accounts for which a connector may bring messages: CHANNEL/NAME, e.g. "telegram/main". Not set: all of them."""


class AuthSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[auth]: who may use the HTTP interface."""

    tokens: dict[Name, TokenConfig] = {}
    """Bearer tokens by name."""


class MatchConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """match = { … }: every key that is set must match."""

    channel: str | None = None
    """A channel, e.g. "telegram"."""
    account: str | None = None
    """An account's name; "*" is any."""
    peer: str | None = None
    """KIND:ID, e.g. "group:-100123" or "dm:4711"."""
    parent_peer: str | None = None
    """KIND:ID of the peer whose thread the message is in."""
    guild: str | None = None
    """A Discord server's id."""
    team: str | None = None
    """A Slack team's id."""


class BindingConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[[bindings]]: which agent answers where. The strongest match wins; of equal ones, the first in the file."""

    match: MatchConfig
    """The messages that this binding is for."""
    agent: str
    """The name of the agent in [agents]."""


class GroupRules(Struct, frozen=True, forbid_unknown_fields=True):
    """[channels.CHANNEL.accounts.NAME.groups."ID"]: the rules of one group or channel. "*" is every other one."""

    allow_from: tuple[str, ...] | None = None
    """Sender ids that may talk here. "*", or not set: everybody in the group. An empty list means nobody."""
    require_mention: bool | None = None
    """Overrides require_mention of the account."""
    agent: str | None = None
    """The agent that answers here. It is stronger than a binding by channel, account, guild or team, and weaker than one by
    peer."""
    commands: tuple[str, ...] = ()
    """Sender ids that may talk here, stop turns of others, begin new sessions by /new, and answer questions to others. "*" is
    everybody who may talk."""


class AccountFrame(Struct, frozen=True, forbid_unknown_fields=True):
    """[channels.CHANNEL.accounts.NAME]: the keys of every account, besides those of its channel."""

    enabled: bool = True
    """false: the account is known but not started."""
    dm_policy: DmPolicy | None = None
    """Who may write direct messages: pairing (the default: a stranger gets a code), allowlist, open, disabled."""
    allow_from: tuple[str, ...] = ()
    """Sender ids that may write direct messages. "*" is everybody. An empty list means nobody."""
    operators: tuple[str, ...] = ()
    """Sender ids of the operators of this account. They may talk in all its chats, and there they may stop turns, begin new
    sessions and answer questions for others. The people who answer approvals are in approvals.groups."""
    group_policy: GroupPolicy = "allowlist"
    """Which groups may talk: allowlist (the ids in groups), open, disabled."""
    groups: tuple[str, ...] | dict[str, GroupRules] = ()
    """Ids of groups and channels in which the account answers. "*" is all. Either a list, or a table of rules for each group.
    In a group of a list everybody may talk."""
    require_mention: bool = True
    """true: in groups, only messages that mention the bot or reply to it start a turn."""
    queue_mode: QueueMode | None = None
    """Overrides sessions.queue_mode for this account."""
    growing: bool = False
    """true: the beginning of a long reply is sent while the agent still writes, and the message grows, on channels that can edit
    their messages. false: a reply is sent when it is complete."""
    on_unknown: Literal["tell", "silent"] = "tell"
    """What happens when a reply has an unknown outcome (the connection or the daemon ended during the send): tell (the chat
    gets one message that says so, and how to see the reply again), silent."""

    def group_name(self, group_id: str) -> str | None:
        """The key of a group in ``groups``, its id or "*". None: it is not listed."""
        return next((name for name in (group_id, "*") if name in self.groups), None)

    def group_rules(self, group_id: str) -> GroupRules:
        """The rules of a group, listed or not."""
        name = self.group_name(group_id)
        return self.groups[name] if name is not None and isinstance(self.groups, dict) else GroupRules()

    @property
    def open_groups(self) -> tuple[str, ...]:
        """The groups in which everybody may talk. "*" is all."""
        if self.group_policy == "disabled":
            return ()
        listed = tuple(name for name in self.groups if may_all_talk(self.group_rules(name)))
        return listed if self.group_policy == "allowlist" or "*" in self.groups else (*listed, "*")


def may_all_talk(rules: GroupRules) -> bool:
    """Whether everybody in the group may talk."""
    return rules.allow_from is None or "*" in rules.allow_from


class AgentFrame(Struct, frozen=True, forbid_unknown_fields=True):
    """[agents.NAME]: the keys of every agent, besides those of its core."""

    core: str = "echo"
    """The kind of agent core: echo, callable, opencode, acp, chat_completions."""
    default: bool = False
    """true: this agent answers where no binding matches. By default, the first agent of the file does."""
    on_lost_turn: Literal["rerun", "report"] = "rerun"
    """What happens to a turn that a crash interrupted, and that its core has lost: rerun (it runs again from the start), report
    (the user is told that it was interrupted)."""
    approvals: AgentApprovals = field(default_factory=AgentApprovals)
    """What the agent may do, and who is asked."""
    main_session: bool = False
    """true: all direct messages to this agent share one session, as with sessions.dm_scope = "main". For an agent of one
    person."""


class BrokenPlugin(Struct, frozen=True):
    """The place-holder for the settings of a plug-in that cannot be used, because of ``reason``. Its account or agent is
    parked."""

    reason: str


class AccountSettings(Struct, frozen=True):
    """One account: the keys of every account, and the settings of its channel."""

    channel: str
    account: str
    frame: AccountFrame
    settings: Struct


class AgentSettings(Struct, frozen=True):
    """One agent: the keys of every agent, and the settings of its core."""

    agent_id: str
    frame: AgentFrame
    settings: Struct


class GatewayConfig(Struct, frozen=True):
    """The whole configuration after both steps.

    ``source`` is its file, None for the embedded default. ``warnings`` are sentences for the log about what is valid but
    probably a mistake. ``broken`` are sentences about plug-ins that cannot be used; their settings are ``BrokenPlugin``."""

    gateway: GatewaySection = field(default_factory=GatewaySection)
    sessions: SessionsSection = field(default_factory=SessionsSection)
    outbox: OutboxSection = field(default_factory=OutboxSection)
    limits: LimitsSection = field(default_factory=LimitsSection)
    retention: RetentionSection = field(default_factory=RetentionSection)
    approvals: ApprovalsSection = field(default_factory=ApprovalsSection)
    auth: AuthSection = field(default_factory=AuthSection)
    agents: tuple[AgentSettings, ...] = ()
    accounts: tuple[AccountSettings, ...] = ()
    bindings: tuple[BindingConfig, ...] = ()
    source: str | None = None
    warnings: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def agents_with_one_session(self) -> frozenset[str]:
        """The agents whose direct messages share one session."""
        return frozenset(agent.agent_id for agent in self.agents if agent.frame.main_session)

    def frame_of(self, channel: str, account: str) -> AccountFrame | None:
        """The frame of an account; None if it is not configured."""
        return next((one.frame for one in self.accounts if (one.channel, one.account) == (channel, account)), None)

    @property
    def default_agent(self) -> str:
        """The agent for messages that no binding matches."""
        marked = [agent.agent_id for agent in self.agents if agent.frame.default]
        return (marked or [agent.agent_id for agent in self.agents])[0]
