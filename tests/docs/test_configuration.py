"""docs/reference/configuration.md is what the structs say, whole; and every TOML example in the documentation can stand."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from gatewayd.config import load_config
from gatewayd.config.load import EMBEDDED, KEYS, SECTIONS
from gatewayd.model.config import (
    AccountFrame,
    AgentApprovals,
    AgentFrame,
    ApprovalRule,
    ApproverGroup,
    BindingConfig,
    GroupRules,
    MatchConfig,
    Name,
    TokenConfig,
)
from gatewayd.model.errors import ConfigError
from gatewayd.plugins import Registry
from gatewayd.ports.agent import AgentPlugin
from gatewayd.ports.channel import ChannelPlugin

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "configuration.md"
TABLES = (AgentApprovals, dict[Name, ApproverGroup])
SCRIPT = ROOT / "contrib" / "config-reference"


def sections() -> dict[str, str]:
    """The text under each heading that is a table's name."""
    parts = re.split(r"^#+ `(.*)`$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def keys_in(section: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def plugins() -> list[tuple[str, ChannelPlugin | AgentPlugin]]:
    registry = Registry.installed()
    found: list[tuple[str, ChannelPlugin | AgentPlugin]] = []
    found += [(f"[channels.{name}.accounts.NAME]", registry.channel(name)) for name in registry.channel_ids]
    found += [(f'[agents.NAME] with core = "{name}"', registry.agent(name)) for name in registry.agent_ids]
    return [(heading, plugin) for heading, plugin in found if plugin.settings.startswith("gatewayd.")]


def test_the_page_is_up_to_date() -> None:
    result = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("heading", "struct"),
    [
        *[(f"[{name}]", section) for name, section in SECTIONS.items() if name != "auth"],
        ("[auth.tokens.NAME]", TokenConfig),
        ("[approvals.groups.NAME]", ApproverGroup),
        ("[agents.NAME]", AgentFrame),
        ("[agents.NAME.approvals]", AgentApprovals),
        ("rules = [{ … }]", ApprovalRule),
        ("[channels.CHANNEL.accounts.NAME]", AccountFrame),
        ('[channels.CHANNEL.accounts.NAME.groups."ID"]', GroupRules),
        ("[[bindings]]", BindingConfig),
        ("match = { … }", MatchConfig),
    ],
)
def test_every_key_of_the_frame_is_on_the_page_with_a_text(heading: str, struct: type[msgspec.Struct]) -> None:
    section = sections()[heading]
    # What holds tables is not a key of its own here: its tables are.
    own = [field.encode_name for field in msgspec.structs.fields(struct) if field.type not in TABLES]
    assert keys_in(section) == own
    assert "|  |" not in section


@pytest.mark.parametrize(("heading", "plugin"), [pytest.param(*entry, id=entry[0]) for entry in plugins()])
def test_every_key_of_every_plugin_is_on_the_page_with_a_text(heading: str, plugin: ChannelPlugin | AgentPlugin) -> None:
    struct = Registry.installed().settings(plugin)
    section = sections()[heading]
    assert keys_in(section) == [field.encode_name for field in msgspec.structs.fields(struct)]
    assert "|  |" not in section


def test_every_table_of_the_file_is_on_the_page() -> None:
    tops = {re.split(r"[.\]]", heading.lstrip("["))[0] for heading in sections()}
    assert tops - {"match = { … }", "rules = [{ … }"} == set(KEYS)


def test_the_embedded_default_is_told_as_it_is() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert tomllib.loads(example) == tomllib.loads(EMBEDDED.decode())


def examples() -> list[tuple[str, str]]:
    pages = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    return [
        (f"{page.relative_to(ROOT)}-{number}", text)
        for page in pages
        for number, text in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
        if not text.startswith("[project")  # a plug-in's pyproject.toml
    ]


@pytest.mark.parametrize("example", [pytest.param(text, id=name) for name, text in examples()])
def test_every_example_in_the_documentation_can_stand(tmp_path: Path, example: str) -> None:
    """All of it but the reader's own secrets."""
    file = tmp_path / "gatewayd.toml"
    file.write_text(example)
    problems: list[str] = []
    try:
        load_config(file, Registry.installed(), {})
    except ConfigError as error:
        problems = [str(problem) for problem in error.problems]
    assert [
        problem for problem in problems if not re.search("secret's file|CREDENTIALS_DIRECTORY|environment variable", problem)
    ] == []
