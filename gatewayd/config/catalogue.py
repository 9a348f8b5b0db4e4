"""Every table and key of the configuration, from the structs: for the starter file and docs/reference/configuration.md."""

import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from gatewayd.config.describe import allowed, bare, default_text, field_texts, toml
from gatewayd.config.load import SECTIONS
from gatewayd.model.config import (
    AccountFrame,
    AgentApprovals,
    AgentFrame,
    ApprovalRule,
    ApproverGroup,
    BindingConfig,
    GroupRules,
    MatchConfig,
    TokenConfig,
)
from gatewayd.model.errors import PluginError
from gatewayd.model.secret import Secret
from gatewayd.plugins import Registry

_OWN_NAME: Final = re.compile(r'(\[+\S+\]+|core = "\w+"|match = \{.*?\}|rules = \[.*?\]): ')


class Key(Struct, frozen=True):
    """One key. ``default`` and ``example`` are TOML. The default "" means that the key is not set, None that it is required."""

    name: str
    text: str
    allowed: str
    default: str | None
    example: str


class TableOfKeys(Struct, frozen=True):
    """One table. ``plugin`` is the channel or agent core that has these keys, None for gatewayd itself."""

    name: str
    intro: str
    keys: tuple[Key, ...]
    plugin: str | None = None


def our_tables() -> Iterator[TableOfKeys]:
    """The tables of gatewayd itself, in the order of the file. Those of accounts and agents are without the keys of plug-ins."""
    for name, section in SECTIONS.items():
        yield _table(f"[{name}]", section)
    yield _table("[approvals.groups.NAME]", ApproverGroup)
    yield _table("[auth.tokens.NAME]", TokenConfig)
    yield _table("[agents.NAME]", AgentFrame)
    yield _table("[agents.NAME.approvals]", AgentApprovals)
    yield _table("rules = [{ … }]", ApprovalRule)
    yield _table("[channels.CHANNEL.accounts.NAME]", AccountFrame)
    yield _table('[channels.CHANNEL.accounts.NAME.groups."ID"]', GroupRules)
    yield _table("[[bindings]]", BindingConfig)
    yield _table("match = { … }", MatchConfig)


def agent_tables(registry: Registry) -> Iterator[TableOfKeys]:
    """The keys of every installed agent core that can be loaded."""
    for core in registry.agent_ids:
        with suppress(PluginError):
            yield _table(f'[agents.NAME] with core = "{core}"', registry.settings(registry.agent(core)), core)


def channel_tables(registry: Registry) -> Iterator[TableOfKeys]:
    """The keys of the accounts of every installed channel that can be loaded."""
    for channel in registry.channel_ids:
        with suppress(PluginError):
            yield _table(f"[channels.{channel}.accounts.NAME]", registry.settings(registry.channel(channel)), channel)


def _table(name: str, struct: type[Struct], plugin: str | None = None) -> TableOfKeys:
    texts = field_texts(struct)
    keys = []
    for field in msgspec.structs.fields(struct):
        if plugin is None and (_is_tables(field.type) or field.type is AgentApprovals):  # listed as a table of its own
            continue
        default = default_text(field)
        example = default or _example(field.type, f"{plugin or name.strip('[]').partition('.')[0]}.{field.encode_name}")
        keys.append(Key(field.encode_name, texts.get(field.name, ""), allowed(field.type), default, example))
    return TableOfKeys(name, _intro(struct), tuple(keys), plugin)


def _is_tables(annotation: object) -> bool:
    """Whether the key holds tables by name."""
    inner = get_args(annotation)[-1:]
    return get_origin(annotation) is dict and isinstance(inner[0], type) and issubclass(inner[0], Struct)


def _example(annotation: object, name: str) -> str:
    kind = bare(annotation)
    if kind is Secret:
        return f"{{ file = {toml(name)} }}"
    if get_origin(kind) is Literal:
        return toml(get_args(kind)[0])
    if get_origin(kind) in (tuple, list):
        return '["…"]'
    return "600" if kind in (int, float) else '"…"'


def _intro(struct: type[Struct]) -> str:
    """The first paragraph of the struct's docstring as one line, without the name of the table in front."""
    text = "" if struct.__doc__ == Struct.__doc__ else inspect.cleandoc(struct.__doc__ or "")
    line = " ".join(text.partition("\n\n")[0].split())
    line = _OWN_NAME.sub("", line, count=1) if _OWN_NAME.match(line) else line
    return line[:1].upper() + line[1:]
