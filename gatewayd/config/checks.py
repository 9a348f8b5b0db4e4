"""Checks between keys, and checks that a type cannot express. Each function adds problems and raises nothing."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Final, get_args
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct
from msgspec.structs import fields as fields_of
from msgspec.structs import replace

from gatewayd.actor.border import describe, third_party
from gatewayd.config.problems import Problems, listed, nearest, show
from gatewayd.config.source import KeyPath
from gatewayd.model.bind import parse_bind
from gatewayd.model.config import (
    SCOPES_OF_ROLE,
    AccountFrame,
    AccountSettings,
    AgentSettings,
    AuthSection,
    BindingConfig,
    ChecksItself,
    GatewaySection,
    MatchConfig,
    Scope,
    SessionsSection,
    TokenConfig,
)
from gatewayd.model.errors import PluginError
from gatewayd.model.message.envelope import PeerKind
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import ChannelPlugin

SHORTEST_TOKEN: Final = 16


class Known(Struct, frozen=True):
    """The names that other keys may use. ``accounts`` are (channel, account); ``channels`` are the installed ones."""

    agents: tuple[str, ...]
    accounts: tuple[tuple[str, str], ...]
    channels: tuple[str, ...]


def check_gateway(problems: Problems, gateway: GatewaySection) -> None:
    try:
        parse_bind(gateway.bind)
    except ValueError as error:
        problems.add(("gateway", "bind"), str(error), found=show(gateway.bind), allowed="HOST:PORT, [IPV6]:PORT")
    if gateway.public_url is not None and (what := _wrong_url(gateway.public_url)):
        problems.add(("gateway", "public_url"), what, found=show(gateway.public_url), allowed="https://HOST or https://HOST:PORT")
    if gateway.state_dir is not None and not gateway.state_dir.startswith("/"):
        problems.add(("gateway", "state_dir"), "must be an absolute path", found=show(gateway.state_dir))
    for index, host in enumerate(gateway.allowed_hosts):
        if not _is_host(host):
            problems.add(
                ("gateway", "allowed_hosts", index), "is not a host name", found=show(host), allowed="HOST, without a port"
            )
    if gateway.max_connections_per_address >= gateway.max_connections > 1:
        problems.warn(
            ("gateway", "max_connections_per_address"), "is not below max_connections: one client can have all connections"
        )
    for index, proxy in enumerate(gateway.trusted_proxies):
        _check_proxy(problems, proxy, ("gateway", "trusted_proxies", index))


def _check_proxy(problems: Problems, proxy: str, key: KeyPath) -> None:
    try:
        everybody = proxy != "unix" and ip_network(proxy).prefixlen == 0
    except ValueError as error:
        allowed = 'an address, a network as 10.1.0.0/24, or "unix"'
        what = "has host bits set" if "host bits" in str(error) else "is not an address or a network"
        problems.add(key, what, found=show(proxy), allowed=allowed)
        return
    if everybody:
        problems.add(key, "trusts everybody: then each client chooses the address that counts for it", found=show(proxy))


def check_identities(problems: Problems, sessions: SessionsSection, known: Known) -> None:
    owners: dict[str, str] = {}
    for person, identities in sessions.identity_links.items():
        key = ("sessions", "identity_links", person)
        for index, identity in enumerate(identities):
            channel, _, sender = identity.partition(":")
            if not channel or not sender or sender != sender.strip():
                problems.add((*key, index), "is not CHANNEL:ID", found=show(identity), allowed='e.g. "telegram:1234"')
            elif channel not in (*known.channels, "operator"):
                problems.warn((*key, index), f'no channel "{channel}" is installed')
            if owners.setdefault(identity, person) != person:
                problems.add((*key, index), f"already belongs to {show(owners[identity])}", found=show(identity))


def check_tokens(problems: Problems, auth: AuthSection, known: Known) -> None:
    owners: dict[Secret, str] = {}
    for name, token in auth.tokens.items():
        key = ("auth", "tokens", name, "token")
        if len(token.token.reveal()) < SHORTEST_TOKEN:
            problems.add(key, f"is shorter than {SHORTEST_TOKEN} characters", plain=True)
        elif owners.setdefault(token.token, name) != name:
            problems.add(key, f'is the same as that of "{owners[token.token]}": each token needs its own')
        possible = [scope for scope in get_args(Scope) if scope in SCOPES_OF_ROLE[token.role]]
        for index, scope in enumerate(token.scopes):
            if scope not in possible:
                what = f'the role "{token.role}" cannot have this scope'
                problems.add((*key[:-1], "scopes", index), what, found=show(scope), allowed=listed(possible))
        _check_accounts(problems, token, key[:-1], known)


def _check_accounts(problems: Problems, token: TokenConfig, key: KeyPath, known: Known) -> None:
    names = [f"{channel}/{account}" for channel, account in known.accounts]
    for index, name in enumerate(token.accounts or ()):
        if name not in names:
            where, close = (*key, "accounts", index), nearest(name, names)
            problems.add(where, "no such account", found=show(name), allowed=listed(names), nearest=close)
    if token.accounts is None and token.role == "connector" and "write" in token.scopes:
        problems.warn(key, 'may bring messages for every account: name its own with accounts = ["CHANNEL/NAME"]')


def check_defaults(problems: Problems, agents: Sequence[AgentSettings]) -> None:
    first, *others = [agent.agent_id for agent in agents if agent.frame.default] or [""]
    for other in others:
        problems.add(("agents", other, "default"), f'only one agent can be the default, and "{first}" is already')


def check_account(problems: Problems, frame: AccountFrame, key: KeyPath, plugin: ChannelPlugin) -> None:
    tables = frame.groups if isinstance(frame.groups, dict) else {}
    _check_ids(problems, frame.allow_from, (*key, "allow_from"), plugin)
    _check_ids(problems, frame.operators, (*key, "operators"), plugin, any_allowed=False)
    for index, name in enumerate(frame.groups):
        _check_id(problems, name, (*key, "groups", name if tables else index), plugin, place=True)
    for name, rules in tables.items():
        _check_ids(problems, rules.allow_from or (), (*key, "groups", name, "allow_from"), plugin)
        _check_ids(problems, rules.commands, (*key, "groups", name, "commands"), plugin)
    if frame.dm_policy == "allowlist" and not (frame.allow_from or frame.operators):
        problems.warn((*key, "dm_policy"), "allowlist with an empty allow_from: nobody can write directly")
    if frame.dm_policy == "open" and "*" not in frame.allow_from and frame.allow_from:
        problems.warn((*key, "allow_from"), "has no effect on direct messages while dm_policy is open")
    _warn_of_groups(problems, frame, key)


def _warn_of_groups(problems: Problems, frame: AccountFrame, key: KeyPath) -> None:
    """Warn where everybody, or nobody, in a group may talk and the file does not say that this is meant."""
    if frame.group_policy == "disabled" and frame.groups:
        problems.warn((*key, "groups"), "has no effect while group_policy is disabled")
    if frame.group_policy != "allowlist" or not frame.groups:
        return
    if not isinstance(frame.groups, dict):
        table = f'[{".".join(map(str, key))}.groups."{frame.groups[0]}"]'
        what = f"everybody in a group of this list may talk to the agent; {table} with allow_from says who may"
        problems.warn((*key, "groups"), what)
        return
    for name, rules in frame.groups.items():
        if rules.allow_from is None:
            what = 'has no allow_from: everybody in the group may talk to the agent; allow_from = ["*"] says that this is meant'
            problems.warn((*key, "groups", name), what)
        elif not (rules.allow_from or rules.commands or frame.operators):
            problems.warn((*key, "groups", name, "allow_from"), "is empty: nobody in the group can talk to the agent")


def check_group_agents(problems: Problems, account: AccountSettings, known: Known) -> None:
    key = ("channels", account.channel, "accounts", account.account, "groups")
    for name, rules in account.frame.groups.items() if isinstance(account.frame.groups, dict) else ():
        if rules.agent is not None:
            _check_agent(problems, rules.agent, (*key, name, "agent"), known)


def _check_ids(problems: Problems, ids: Iterable[str], key: KeyPath, plugin: ChannelPlugin, *, any_allowed: bool = True) -> None:
    for index, one in enumerate(ids):
        _check_id(problems, one, (*key, index), plugin, any_allowed=any_allowed)


def _check_id(
    problems: Problems, one: str, key: KeyPath, plugin: ChannelPlugin, *, any_allowed: bool = True, place: bool = False
) -> None:
    form = plugin.form_of(place=place)
    if not one or one != one.strip():
        problems.add(key, "is not an id: empty, or with spaces around it", found=show(one))
    elif one == "*" and not any_allowed:
        problems.add(key, 'cannot be "*": it would make an operator of everybody', found=show(one), allowed=form)
    elif one != "*" and not plugin.is_id(one, place=place):
        allowed = f'{form}, or "*" for any' if any_allowed else form
        problems.add(key, f"is not an id of {plugin.label}", found=show(one), allowed=allowed)


def _check_agent(problems: Problems, agent: str, key: KeyPath, known: Known) -> None:
    if agent not in known.agents:
        close = nearest(agent, known.agents)
        problems.add(key, "no such agent", found=show(agent), allowed=listed(known.agents), nearest=close)


def check_credentials(problems: Problems, accounts: Iterable[AccountSettings]) -> None:
    """Two accounts of a channel must not share their credentials: they would take each other's messages. Those are the secrets
    that each account must have; where none must be there, all that it has."""
    owners: dict[tuple[str, tuple[Secret, ...]], str] = {}
    for account in accounts:
        fields = [it for it in fields_of(type(account.settings)) if isinstance(getattr(account.settings, it.name), Secret)]
        names = [it.name for it in fields if it.required] or [it.name for it in fields]
        if not names or not account.frame.enabled:
            continue
        secrets = tuple(getattr(account.settings, name) for name in names)
        owner = owners.setdefault((account.channel, secrets), account.account)
        if owner != account.account:
            key = ("channels", account.channel, "accounts", account.account, names[0])
            problems.add(key, f"is the same as that of {account.channel}/{owner}: each account needs its own")


def check_settings(problems: Problems, settings: Struct, key: KeyPath, gateway: GatewaySection | None) -> None:
    """The checks of the plug-in. ``gateway`` is None where that section has problems: then the plug-in is not asked.

    :raises PluginError: the check failed.
    """
    if gateway is None:
        return
    try:
        with third_party():
            found = [str(what) for what in settings.problems(gateway)] if isinstance(settings, ChecksItself) else []
    except Exception as error:
        raise PluginError(f"the check of the plug-in failed: {describe(error)}") from error
    for what in found:
        problems.add(key, what)


def check_binding(problems: Problems, binding: BindingConfig, key: KeyPath, known: Known) -> None:
    match = binding.match
    _check_agent(problems, binding.agent, (*key, "agent"), known)
    given = [name for name in match.__struct_fields__ if getattr(match, name) is not None]
    if not given or (given == ["account"] and match.account == "*"):
        what = "matches everything: an agent answers everywhere else with default = true in its own table"
        problems.add((*key, "match"), what, allowed="at least one key that narrows it")
    for field, peer in (("peer", match.peer), ("parent_peer", match.parent_peer)):
        if peer is not None:
            _check_peer(problems, peer, (*key, "match", field))
    _check_account_name(problems, match.channel, match.account, (*key, "match"), known)


def check_matches(problems: Problems, bindings: Mapping[int, BindingConfig]) -> None:
    """Of two bindings with the same match the second is never used."""
    first: dict[MatchConfig, int] = {}
    for index, binding in bindings.items():
        match = replace(binding.match, account=None) if binding.match.account == "*" else binding.match
        if (earlier := first.setdefault(match, index)) != index:
            problems.add(("bindings", index, "match"), f"is the same as that of bindings[{earlier}], which always wins")


def _check_account_name(problems: Problems, channel: str | None, account: str | None, key: KeyPath, known: Known) -> None:
    configured = {name for name, _ in known.accounts}
    if channel is not None and channel not in configured:
        if channel not in known.channels:
            ids, close = known.channels, nearest(channel, known.channels)
            problems.add((*key, "channel"), "no such channel", found=show(channel), allowed=listed(ids), nearest=close)
            return
        problems.warn((*key, "channel"), f'no account of the channel "{channel}" is configured')
    if account is None or account == "*":
        return
    names = sorted({name for kind, name in known.accounts if channel in (None, kind)})
    if account not in names:
        close = nearest(account, names)
        allowed = listed([*names, '"*" for any'])
        problems.add((*key, "account"), "no such account", found=show(account), allowed=allowed, nearest=close)


def _check_peer(problems: Problems, peer: str, key: KeyPath) -> None:
    kinds = get_args(PeerKind)
    kind, colon, identity = peer.partition(":")
    if kind not in kinds or not colon or not identity or identity != identity.strip():
        allowed = f"KIND:ID, where KIND is {listed(kinds)}"
        problems.add(key, "is not a peer", found=show(peer), allowed=allowed, nearest=nearest(kind, kinds))


def _wrong_url(text: str) -> str | None:
    """What is wrong with a public URL, or None. It must be https, because platforms send to it; http is for this machine only."""
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError as error:
        return f"is not a URL: {error}"
    if url.scheme not in ("https", "http") or not host or not _is_host(host):
        return "is not an https URL"
    if url.username is not None or url.password is not None:
        return "must not have a user name or password"
    if url.path not in ("", "/") or url.query or url.fragment or text.endswith(("?", "#")):
        return "must have no path, query or fragment"
    if url.scheme == "http" and not _is_loopback(url):
        return "must be https (http only for this machine itself)"
    return None


def _is_loopback(url: SplitResult) -> bool:
    host = url.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_host(text: str) -> bool:
    try:
        ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return len(text) <= 253 and all(_is_label(label) for label in text.removesuffix(".").split("."))
    return True


def _is_label(label: str) -> bool:
    """A label of a host name, RFC 1123 section 2.1 (and the underscore, which container networks use)."""
    return 0 < len(label) <= 63 and label.isascii() and label.replace("-", "").replace("_", "").isalnum() and label[0] != "-"
