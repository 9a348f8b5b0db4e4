"""The file of ``gatewayd init``: the default configuration, and every other key as a comment."""

import tomllib
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Final

from gatewayd.config.catalogue import Key, TableOfKeys, agent_tables, channel_tables, our_tables
from gatewayd.config.describe import SOURCES_OF_SECRETS
from gatewayd.config.load import EMBEDDED
from gatewayd.plugins import Registry

WIDTH: Final = 110
SELF_EVIDENT: Final = ("a text", "true or false", SOURCES_OF_SECRETS)
HEAD: Final = """\
# The configuration of gatewayd, with every key. A key behind a # has its default, or an example.
# Check your changes: gatewayd check-config
# A secret is never in this file. Its source is { file = "NAME" }, relative to the directory of this file,
# { env = "VARIABLE" }, or { credential = "NAME" } from systemd.
"""


def starter_text(registry: Registry) -> str:
    """A whole and valid configuration file, made from the structs of gatewayd and of every installed plug-in."""
    ours = {table.name: table for table in our_tables()}
    account, agent = ours.pop("[channels.CHANNEL.accounts.NAME]"), ours.pop("[agents.NAME]")
    rules = ours.pop('[channels.CHANNEL.accounts.NAME.groups."ID"]')
    binding, match, token = ours.pop("[[bindings]]"), ours.pop("match = { … }"), ours.pop("[auth.tokens.NAME]")
    group, policy, rule = ours.pop("[approvals.groups.NAME]"), ours.pop("[agents.NAME.approvals]"), ours.pop("rules = [{ … }]")
    blocks = [_block(table.name, table.intro, table.keys) for table in ours.values() if table.keys]
    blocks.append(_block("[approvals.groups.owners]", group.intro, group.keys, off=True))
    blocks.append(_block("[auth.tokens.ops]", token.intro, token.keys, off=True))
    blocks.extend(_agents(agent, list(agent_tables(registry))))
    blocks.append(_policy(policy, rule))
    blocks.extend(_channels(account, list(channel_tables(registry))))
    blocks.append(_block('[channels.telegram.accounts.main.groups."-100123"]', rules.intro, rules.keys, off=True))
    blocks.append(_bindings(binding, match))
    return "\n\n".join([HEAD.rstrip("\n"), *blocks]) + "\n"


def _agents(common: TableOfKeys, cores: Sequence[TableOfKeys]) -> Iterator[str]:
    """The echo agent runs; the other agents are comments."""
    for table in cores:
        runs = table.plugin == "echo"
        header = "[agents.assistant]" if runs else f"[agents.{table.plugin}]"
        keys = [key for key in common.keys if key.name != "core"] if runs else []
        yield _block(header, table.intro, [*keys, *table.keys], off=not runs, given=[f'core = "{table.plugin}"'])


def _channels(common: TableOfKeys, channels: Sequence[TableOfKeys]) -> Iterator[str]:
    """The account of the default configuration runs, and has the keys of every account. The other channels are comments."""
    default = tomllib.loads(EMBEDDED.decode())["channels"]
    for table in sorted(channels, key=lambda table: table.plugin not in default):
        runs = table.plugin in default
        header = f"[channels.{table.plugin}.accounts.main]"
        keys = [*common.keys, *table.keys] if runs else table.keys
        yield _block(header, table.intro, keys, off=not runs)


def _policy(policy: TableOfKeys, rule: TableOfKeys) -> str:
    keys = [key for key in policy.keys if key.name != "rules"]
    lines = [_block("[agents.assistant.approvals]", policy.intro, keys), *_comment(f"rules: {rule.intro}")]
    for key in rule.keys:
        lines.extend(_comment(f"  {key.name}: {key.text}"))
    return "\n".join([*lines, '#rules = [{ action = "allow", tool = "bash", input = { command = "git status" } }]'])


def _bindings(binding: TableOfKeys, match: TableOfKeys) -> str:
    keys = [key for key in binding.keys if key.name != "match"]
    lines = [_block("[[bindings]]", binding.intro, keys, off=True), *_comment(f"match: {match.intro}")]
    for key in match.keys:
        lines.extend(_comment(f"  {key.name}: {key.text}"))
    return "\n".join([*lines, '#match = { channel = "telegram", account = "*", peer = "group:-100123" }'])


def _block(header: str, intro: str, keys: Sequence[Key], *, off: bool = False, given: Sequence[str] = ()) -> str:
    """One table. ``off``: the whole table is a comment. ``given``: lines that are no comments (unless it is off)."""
    mark = "#" if off else ""
    head = [f"{mark}{line}" for line in (header, *given)]
    return "\n".join([*_comment(intro), *head, *_keys(keys)])


def _keys(keys: Sequence[Key]) -> list[str]:
    lines: list[str] = []
    for key in keys:
        lines.extend(_comment(key.text))
        allowed = "" if key.allowed in SELF_EVIDENT or key.default is None else f"  # {key.allowed}"
        lines.append(f"#{key.name} = {key.example}{allowed}")
    return lines


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)]
