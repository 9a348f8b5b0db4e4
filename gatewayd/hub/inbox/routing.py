"""The route of a message: its agent and its session. Pure and deterministic."""

from collections.abc import Collection

from msgspec.structs import replace

from gatewayd.model.config import GatewayConfig, MatchConfig
from gatewayd.model.message.envelope import InboundEnvelope, Peer
from gatewayd.model.message.route import Route, Rule

# The strongest first. The strongest key of its match decides how strong a binding is.
_STRENGTH: tuple[Rule, ...] = ("peer", "parent_peer", "group", "guild", "team", "account", "channel", "default")
_NO_BINDING = -1


def resolve_route(envelope: InboundEnvelope, config: GatewayConfig) -> Route:
    """The route of one message. The strongest matching rule wins, then the first binding in the file. A group's own agent ranks
    below bindings of its peer and above the wider ones."""
    found: list[tuple[int, int, str]] = []
    for index, binding in enumerate(config.bindings):
        if _matches(binding.match, envelope):
            found.append((_STRENGTH.index(_rule(binding.match, envelope.peer)), index, binding.agent))
    if (own := _group_agent(envelope, config)) is not None:
        found.append((_STRENGTH.index("group"), _NO_BINDING, own))
    strength, index, agent_id = min(found, default=(len(_STRENGTH) - 1, _NO_BINDING, config.default_agent))
    key = session_key(agent_id, envelope, config)
    return Route(agent_id, key, _STRENGTH[strength], None if index == _NO_BINDING else index)


def known_as(envelope: InboundEnvelope, config: GatewayConfig) -> InboundEnvelope:
    """The envelope with the id of its peer that the configuration uses. A group that got another id on its platform keeps its
    rules and its sessions until the configuration has the new id."""
    former, now = envelope.formerly, envelope.peer.id
    if former is None:
        return envelope
    frame = config.frame_of(envelope.channel, envelope.account)
    listed: Collection[str] = () if frame is None else frame.groups
    is_new = next((now in named for named in (listed, _bound(config)) if (now in named) != (former in named)), False)
    return replace(envelope, peer=envelope.peer if is_new else replace(envelope.peer, id=former), formerly=None)


def _bound(config: GatewayConfig) -> set[str]:
    """The ids of groups in bindings and in chats of approvals."""
    peers = [name for it in config.bindings for name in (it.match.peer, it.match.parent_peer) if name is not None]
    chats = [chat for group in config.approvals.groups.values() for chat in group.chats]
    return {name.split(":")[1] for name in peers if ":" in name} | {chat.split(":")[3] for chat in chats if chat.count(":") >= 3}


def _group_agent(envelope: InboundEnvelope, config: GatewayConfig) -> str | None:
    frame = None if envelope.peer.kind == "dm" else config.frame_of(envelope.channel, envelope.account)
    return None if frame is None else frame.group_rules(envelope.peer.id).agent


def _matches(match: MatchConfig, envelope: InboundEnvelope) -> bool:
    own, exact = _names(envelope.peer)
    return (
        match.channel in (None, "*", envelope.channel)
        and match.account in (None, "*", envelope.account)
        and match.peer in (None, own, exact)
        and (match.parent_peer is None or (match.parent_peer == own and exact != own))
        and match.guild in (None, envelope.guild)
        and match.team in (None, envelope.team)
    )


def _names(peer: Peer) -> tuple[str, str]:
    """The name of a peer without its thread, and with it."""
    own = f"{peer.kind}:{peer.id}"
    return own, own if peer.thread is None else f"{own}:{peer.thread}"


def _rule(match: MatchConfig, peer: Peer) -> Rule:
    if match.peer == _names(peer)[1]:
        return "peer"
    if match.peer is not None or match.parent_peer is not None:
        # A binding of the whole group also holds in its threads, but a binding of the thread is stronger.
        return "parent_peer"
    if match.guild is not None:
        return "guild"
    if match.team is not None:
        return "team"
    if match.account not in (None, "*"):
        return "account"
    if match.channel not in (None, "*"):
        return "channel"
    return "default"


def session_key(agent_id: str, envelope: InboundEnvelope, config: GatewayConfig) -> str:
    """``agent:channel:account:peer_kind:peer_id[:thread:id]``, lower case and URL-safe; shorter for shared direct messages.

    Different peers never get the same key: characters outside ``[a-z0-9_.-]`` are escaped reversibly, capitals included (on some
    platforms ids differ only by case). Only ``dm_scope`` and ``identity_links`` make peers share a session.
    """
    peer = envelope.peer
    if peer.kind == "dm":
        return _dm_key(agent_id, envelope, config)
    parts = [agent_id, envelope.channel, envelope.account, peer.kind, escape(peer.id)]
    return ":".join(parts + _thread(peer))


def _dm_key(agent_id: str, envelope: InboundEnvelope, config: GatewayConfig) -> str:
    scope = config.sessions.dm_scope
    person = _linked_name(envelope, config.sessions.identity_links)
    peer_id = escape(envelope.peer.id)
    if scope == "main" or agent_id in config.agents_with_one_session:
        return f"{agent_id}:main"
    if scope == "per-peer":
        # Without a link, two ids on two channels may be two people, so the channel stays in the key.
        parts = [agent_id, "person", escape(person)] if person else [agent_id, "dm", envelope.channel, peer_id]
    elif scope == "per-channel-peer":
        parts = [agent_id, envelope.channel, *(["person", escape(person)] if person else ["dm", peer_id])]
    else:
        parts = [agent_id, envelope.channel, envelope.account, "dm", peer_id]
    return ":".join(parts + _thread(envelope.peer))


def _linked_name(envelope: InboundEnvelope, links: dict[str, tuple[str, ...]]) -> str | None:
    identity = f"{envelope.channel}:{envelope.sender.id}"
    return next((name for name, identities in links.items() if identity in identities), None)


def _thread(peer: Peer) -> list[str]:
    return [] if peer.thread is None else ["thread", escape(peer.thread)]


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


def escape(text: str) -> str:
    """``~x`` for the capital X, ``~0hh`` for any other byte that is not plain. Reversible, so different texts stay different."""
    if _PLAIN.issuperset(text):
        return text or "~"
    return "".join(_escape_byte(byte) for byte in text.encode("utf-8", "surrogatepass"))


def _escape_byte(byte: int) -> str:
    char = chr(byte)
    if char in _PLAIN:
        return char
    if "A" <= char <= "Z":
        return "~" + char.lower()
    return f"~0{byte:02x}"
