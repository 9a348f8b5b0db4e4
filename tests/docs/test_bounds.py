"""docs/reference/bounds.md has every limit with its value, and names what is measured."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import fields

from gatewayd.model.config import (
    ApprovalsSection,
    GatewaySection,
    LimitsSection,
    OutboxSection,
    RetentionSection,
    SessionsSection,
)
from gatewayd.model.status import AccountStatus, InboxStatus, Snapshot

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/bounds.md").read_text()
METRICS = (ROOT / "docs/reference/metrics.md").read_text()
HTTP = (ROOT / "docs/reference/http.md").read_text()
SECTIONS: dict[str, type[Struct]] = {
    "gateway": GatewaySection,
    "sessions": SessionsSection,
    "outbox": OutboxSection,
    "limits": LimitsSection,
    "approvals": ApprovalsSection,
    "retention": RetentionSection,
}
ROWS = re.findall(r"^\| ([^|]+) \| `([\w.]+)` \| ([\d,]+) \| ([^|]*)\| ?([^|]*)\|$", PAGE, re.M)
# Queues and tables: whatever else is made of these needs a row.
FILLING = re.compile(r"create_memory_object_stream\[.*?\]\((\w+)\)|open_memory_channel\[.*?\]\((\w+)\)|deque\(maxlen=(\w+)\)")


def value_of(name: str) -> float:
    """The default of a key of the configuration, or the value of a constant."""
    section, _, key = name.partition(".")
    if section in SECTIONS and "." not in key and key.islower():
        return float(getattr(SECTIONS[section](), key))
    module, _, constant = name.rpartition(".")
    return float(getattr(import_module(f"gatewayd.{module}"), constant))


def test_every_row_of_the_page_is_read() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| what |")]
    assert len(lines) == len(ROWS) > 60


@pytest.mark.parametrize(("name", "value"), [(name, value) for _, name, value, _, _ in ROWS])
def test_each_bound_has_the_value_that_the_page_says(name: str, value: str) -> None:
    assert value_of(name) == float(value.replace(",", ""))


def test_no_bound_is_there_twice() -> None:
    names = [name for _, name, _, _, _ in ROWS]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("section", ["limits", "outbox", "retention"])
def test_every_key_of_the_limits_is_on_the_page(section: str) -> None:
    named = {name for _, name, _, _, _ in ROWS}
    assert {f"{section}.{field.name}" for field in fields(SECTIONS[section])} <= named


def streams() -> Iterator[tuple[str, str]]:
    for module in sorted((ROOT / "gatewayd").rglob("*.py")):
        if "testing" not in module.parts and "loopback" not in module.parts:
            for found in FILLING.findall(module.read_text()):
                dotted = ".".join(module.relative_to(ROOT / "gatewayd").with_suffix("").parts)
                yield dotted, "".join(found)


@pytest.mark.parametrize(("module", "size"), list(streams()))
def test_every_channel_in_memory_has_a_size_on_the_page(module: str, size: str) -> None:
    assert size.isdigit() or f"{module}.{size}" in {name for _, name, _, _, _ in ROWS}


def test_what_a_bound_shows_is_there() -> None:
    shown = {word for *_, shows in ROWS for word in re.findall(r"`([\w.]+)`", shows)}
    metrics = {word for word in shown if word.startswith("gatewayd_")}
    assert len(metrics) > 15
    assert {metric for metric in metrics if f"`{metric}`" not in METRICS} == set()
    codes = {code for *_, shows in ROWS for code in re.findall(r"problem `(\w+)`", shows)}
    assert {code for code in codes if f"`{code}`" not in HTTP} == set()
    status = {field.name for kind in (AccountStatus, InboxStatus, Snapshot) for field in fields(kind)}
    assert {"mailbox_depth", "pairings_pending", "approvals_pending", "limited_senders"} <= status
