"""The configuration as frozen structs: the frame, which belongs to us.

Each account's own keys belong to its channel plugin, each agent's to its core plugin: they are decoded in a second step
(``gatewayd.config``). The docstring under a field is its entry in docs/reference/configuration.md.
"""

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
"""What a token of each role can be given at most. A program that carries messages never decides what an agent may do."""

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
    """Where the store and the token live. Default: $STATE_DIRECTORY (systemd), else $XDG_STATE_HOME/gatewayd. One in which
    others can write is refused."""
    bind: str = "127.0.0.1:18790"
    """host:port of the HTTP server; port 0 takes a free one. IPv6 as [::1]:18790. Where systemd hands over a socket
    (gatewayd.socket), that one is used and not this."""
    public_url: str | None = None
    """The https URL under which the platforms reach this daemon, for webhooks. Without a path."""
    allowed_hosts: tuple[str, ...] = ()
    """Further Host names a browser may use, beside the bind address, localhost and public_url's host."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of reverse proxies in front, e.g. ["127.0.0.1", "10.1.0.0/24"], and "unix" for those that come over
    a Unix socket. Only they are believed who a request comes from (X-Forwarded-For, Forwarded). Never a network that clients are
    in."""
    drain_seconds: Seconds = 20.0
    """How long a stop waits for running turns and unsent replies."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged."""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=67_108_864)] = 1_048_576
    """The largest HTTP request body; more is answered 413."""
    webhook_accelerator: bool = True
    """Answer webhooks without the HTTP framework, at a third of the cost. Without it the answers are the same."""
    max_connections: Count = 1000
    """How many HTTP connections at once; more wait in the listen queue."""
    max_connections_per_address: Count = 250
    """The same for each client address (IPv6: each /64); more are answered 429. Connections of trusted_proxies are not counted,
    but the requests that they pass on are, by the address that they say."""
    stall_seconds: Annotated[float, Meta(ge=0.1, le=3600)] = 2.0
    """Whatever holds up everything else for so long is named in the log and in the status: most often the code of an agent that
    waits without giving way."""


@runtime_checkable
class ChecksItself(Protocol):
    """A plugin's settings struct that checks more than types can, e.g. that webhook mode has a ``public_url``."""

    def problems(self, gateway: GatewaySection, /) -> Iterable[str]:
        """One sentence per problem, without secrets. Called after the struct and [gateway] were decoded without any."""


@runtime_checkable
class ChecksMachine(Protocol):
    """A plugin's settings struct that can find out what will not work on this machine, e.g. that a module is missing."""

    def warnings(self) -> Iterable[str]:
        """One sentence per finding, without secrets. Only ``gatewayd check-config`` calls it, never the daemon: so it may take
        its time, and import the user's code."""


class SessionsSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[sessions]: how messages map to sessions, and how turns run."""

    dm_scope: DmScope = "per-account-channel-peer"
    """Who shares a session in direct messages: main (everybody), per-peer (a person over all channels, by
    identity_links), per-channel-peer, per-account-channel-peer."""
    identity_links: dict[str, tuple[str, ...]] = {}
    """One person's identities: alice = ["telegram:1234", "slack:U99", "operator:alice"]. Used by the scopes per-peer and
    per-channel-peer, and where a quorum counts people; "operator:NAME" is who uses the token of that name."""
    queue_mode: QueueMode = "queue"
    """What happens to messages that arrive while a turn runs: queue (each its own turn), collect (one turn for all that
    waited), interrupt (abort and start anew)."""
    turn_timeout_seconds: Seconds = 900.0
    """A turn that takes longer is aborted, and its lane goes on. Waiting for an approval does not count."""
    max_turn_attempts: Annotated[int, Meta(ge=1, le=100)] = 10
    """How often one message may start a turn before it is dead-lettered, also over restarts: each attempt waits longer than the
    one before. Waiting for an agent that is not open is no attempt, nor is one that an ordered stop of the daemon cut."""


class OutboxSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[outbox]: replies on their way out."""

    stale_after_seconds: Seconds = 86_400.0
    """Replies that have waited longer than this are parked for the operator instead of being sent late."""
    max_attempts: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    """Attempts before a reply is a dead letter. Rate limits count as attempts, too."""
    send_timeout_seconds: Seconds = 60.0
    """A send that takes longer is cut; its outcome is unknown."""
    concurrency: Annotated[int, Meta(ge=1, le=256)] = 16
    """How many conversations of one account are sent to at the same time."""


class LimitsSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[limits]: the bounds of what can fill."""

    inbox_backlog: Count = 10_000
    """Messages journaled and not yet in a turn, in all accounts. When full, polls stop and webhooks answer 503."""
    account_backlog: Count = 4_000
    """The same for each account: one that is full waits, the others go on."""
    sender_backlog: Count = 100
    """The same for each sender of an account. A further message is journaled and dropped (sender_limit), and its sender is told,
    once."""
    turns: Count = 256
    """Turns that run at the same time, over all agents; further lanes wait."""
    mailbox: Count = 256
    """Replies in memory per account; more stay in the store."""
    event_rows: Count = 100_000
    """Events kept for resuming readers."""


OPERATORS: Final = "operators"
"""The group that is always there: whoever has a token with the scope approvals."""


class RetentionSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[retention]: how long ended messages, replies, requests and questions are kept. What waits is always kept, and so is the
    audit log."""

    keep_seconds: Annotated[float, Meta(ge=172_800, le=315_360_000)] = 2_592_000.0
    """Ended rows older than this are deleted, a few at a time. At least two days: they are how a message that a platform delivers
    again is known (Telegram keeps an update for 24 hours)."""
    dead_letter_seconds: Annotated[float, Meta(ge=172_800, le=315_360_000)] = 7_776_000.0
    """The same for dead letters, and for replies that are unknown or parked, which nobody has retried or dropped."""
    max_megabytes: Annotated[int, Meta(ge=16, le=1_048_576)] = 4096
    """When the store holds more, the oldest ended rows go before their time, but none younger than two days."""


class ApproverGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """[approvals.groups.NAME]: people who may answer requests in chats."""

    people: tuple[str, ...]
    """Who may answer: CHANNEL:ID, e.g. "telegram:1234"."""
    chats: tuple[str, ...] = ("origin",)
    """Where the request is shown and may be answered: "origin" (the chat that the message came from) or
    CHANNEL:ACCOUNT:KIND:ID, e.g. "telegram:main:group:-100123"."""


class ApprovalRule(Struct, frozen=True, forbid_unknown_fields=True):
    """rules = [{ … }]: the first rule that matches decides; without one, an operator is asked."""

    action: Literal["allow", "ask", "deny"]
    """allow, ask or deny."""
    tool: str = "*"
    """The tool's name; * stands for any characters."""
    input: dict[str, str] = {}
    """Keys of the tool's input and what they must be, e.g. { command = "git status" }; * stands for any characters, but in an
    allow rule for none that can go on to another command: ; & | < > ( ) $ ` \\ and line ends."""


class AgentApprovals(Struct, frozen=True, forbid_unknown_fields=True):
    """[agents.NAME.approvals]: what this agent may do, and who is asked."""

    rules: tuple[ApprovalRule, ...] = ()
    """Which requests need nobody: the first that matches decides."""
    ask: tuple[str, ...] = (OPERATORS,)
    """Groups that are asked, one after the other; operators are those with a token, over HTTP, console and gatewayctl."""
    escalate_after_seconds: Seconds = 300.0
    """A request nobody has answered is shown to the next group after this time."""
    quorum: Annotated[int, Meta(ge=1, le=20)] = 1
    """How many different people must allow a request. One denial denies it."""
    timeout_seconds: Seconds | None = None
    """Overrides approvals.timeout_seconds: a request nobody answered by then is expired, and not run."""
    session_grant: Literal["off", "input", "tool"] = "input"
    """What "allow for this session" covers: nothing (not offered), the same tool with exactly the same input, or the tool with
    any input. Deny rules hold all the same."""


class ApprovalsSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[approvals]: tool requests that wait for an operator."""

    timeout_seconds: Seconds = 900.0
    """A request nobody answered by then is expired; the agent is told so."""
    max_pending: Count = 1000
    """More pending requests than this are refused, and more open questions of agents to their users are not asked."""
    question_timeout_seconds: Seconds = 3600.0
    """How long a question of an agent to its user stays open."""
    groups: dict[Name, ApproverGroup] = {}
    """People who may answer in chats, by the group's name."""


class TokenConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[auth.tokens.NAME]: one bearer token. Without any, an operator token is made at first start."""

    token: Secret
    """The token: { file = "…" }, { env = "…" } or { credential = "…" }; at least 16 characters."""
    role: Role = "operator"
    """operator (a person), connector (a program that brings messages) or node (one that only looks)."""
    scopes: tuple[Scope, ...] = ("read",)
    """read, write, approvals, pairing, admin (admin includes the others). A connector can have read and write, a node read."""
    accounts: tuple[str, ...] | None = None
    """The accounts that it may bring messages for: CHANNEL/NAME, e.g. "telegram/main". Without this, all of them."""


class AuthSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[auth]: who may use the HTTP interface."""

    tokens: dict[Name, TokenConfig] = {}
    """Bearer tokens by name."""


class MatchConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """match = { … }: every key that is given must hold."""

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
    """[[bindings]]: which agent answers where. The strongest match wins, then the first in the file."""

    match: MatchConfig
    """What the message must match."""
    agent: str
    """The agent's name in [agents]."""


class GroupRules(Struct, frozen=True, forbid_unknown_fields=True):
    """[channels.CHANNEL.accounts.NAME.groups."ID"]: what holds in one group or channel; "*" is any without a table of its own."""

    allow_from: tuple[str, ...] | None = None
    """Sender ids that may talk here, "*" is whoever is in the group. Not set: whoever is in it. An empty list means nobody."""
    require_mention: bool | None = None
    """Overrides require_mention of the account."""
    agent: str | None = None
    """The agent that answers here: stronger than bindings by channel, account, guild or team, weaker than those by peer."""
    commands: tuple[str, ...] = ()
    """Sender ids that may talk here, stop turns of others, begin new sessions with /new and answer questions that others were
    asked; "*" is whoever may talk."""


class AccountFrame(Struct, frozen=True, forbid_unknown_fields=True):
    """[channels.CHANNEL.accounts.NAME]: the keys every account has, beside its channel's own."""

    enabled: bool = True
    """false: the account is known but not started."""
    dm_policy: DmPolicy | None = None
    """Who may write directly: pairing (the default: strangers get a code), allowlist, open, disabled."""
    allow_from: tuple[str, ...] = ()
    """Sender ids that may write directly, "*" is anybody. An empty list means nobody."""
    operators: tuple[str, ...] = ()
    """Sender ids of those who run this account: they may talk wherever it answers, and stop, renew and answer for others there.
    Who may answer approvals stands in approvals.groups."""
    group_policy: GroupPolicy = "allowlist"
    """Which groups may talk: allowlist (the ids in groups), open, disabled."""
    groups: tuple[str, ...] | dict[str, GroupRules] = ()
    """Group and channel ids in which the account answers, "*" is any: a list, or a table for each with rules of its own. In a
    group of the list whoever is in it may talk."""
    require_mention: bool = True
    """In groups, only messages that mention or answer the bot are run."""
    queue_mode: QueueMode | None = None
    """Overrides sessions.queue_mode for this account."""
    on_unknown: Literal["tell", "silent"] = "tell"
    """When nobody knows whether a reply has arrived (the connection or the daemon ended while it was sent): tell its chat, once,
    and how to see it again, or say nothing."""

    def group_name(self, group_id: str) -> str | None:
        """The name under which a group stands in ``groups``, its id or "*"; None if it is not listed."""
        return next((name for name in (group_id, "*") if name in self.groups), None)

    def group_rules(self, group_id: str) -> GroupRules:
        """What holds in a group, listed or not."""
        name = self.group_name(group_id)
        return self.groups[name] if name is not None and isinstance(self.groups, dict) else GroupRules()

    @property
    def open_groups(self) -> tuple[str, ...]:
        """The groups in which whoever is there may talk, "*" for any."""
        if self.group_policy == "disabled":
            return ()
        listed = tuple(name for name in self.groups if may_all_talk(self.group_rules(name)))
        return listed if self.group_policy == "allowlist" or "*" in self.groups else (*listed, "*")


def may_all_talk(rules: GroupRules) -> bool:
    """Whether nobody in the group is left out."""
    return rules.allow_from is None or "*" in rules.allow_from


class AgentFrame(Struct, frozen=True, forbid_unknown_fields=True):
    """[agents.NAME]: the keys every agent has, beside its core's own."""

    core: str = "echo"
    """The kind of agent core: echo, callable, opencode, acp, chat_completions."""
    default: bool = False
    """This agent answers where no binding matches. Without one, the first in the file does."""
    on_lost_turn: Literal["rerun", "report"] = "rerun"
    """When a turn was cut by a crash and its core has lost it: run it again from the start, or tell the user that it was
    interrupted and run nothing."""
    approvals: AgentApprovals = field(default_factory=AgentApprovals)
    """What the agent may do, and who is asked."""
    main_session: bool = False
    """All direct messages to this agent share one session, as with sessions.dm_scope = "main": for an agent of one person."""


class BrokenPlugin(Struct, frozen=True):
    """Stands where a plugin's settings would: it cannot be used, and ``reason`` says why. What it is for is parked."""

    reason: str


class AccountSettings(Struct, frozen=True):
    """One account, decoded: our frame and the plugin's settings."""

    channel: str
    account: str
    frame: AccountFrame
    settings: Struct


class AgentSettings(Struct, frozen=True):
    """One agent, decoded: our frame and the core's settings."""

    agent_id: str
    frame: AgentFrame
    settings: Struct


class GatewayConfig(Struct, frozen=True):
    """The whole configuration after both steps.

    ``source`` is the file it came from, None for the embedded default. ``warnings`` are sentences for the log: what is
    allowed but probably not meant. ``broken`` are sentences about plugins that cannot be used; their settings are
    ``BrokenPlugin``.
    """

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
