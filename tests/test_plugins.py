"""The registry, against real distributions: ``.dist-info`` folders on ``sys.path``."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from msgspec import Struct

from gatewayd.actor.border import trace_of
from gatewayd.model.errors import NeedsOperator, PluginError
from gatewayd.plugins import Registry
from gatewayd.ports.agent import AgentPlugin
from gatewayd.ports.channel import ChannelPlugin

MANIFEST = """
from gatewayd.ports.channel import ChannelPlugin

PLUGIN = ChannelPlugin(id="{id}", label="A channel", settings="{module}.driver:Settings", open="{module}.driver:open_account")
"""
LIMITED = """
from gatewayd.ports.channel import ChannelPlugin, TextLimit

PLUGIN = ChannelPlugin(id="acme", label="A channel", settings="acme_chat.driver:Settings", open="", {}={})
"""
DRIVER = """
from msgspec import Struct

class Settings(Struct, frozen=True):
    colour: str = "red"

NUMBER = 3

def open_account(account, services):
    raise NotImplementedError
"""


class Shop:
    """A folder on ``sys.path`` in which distributions are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, entry_points: str | bytes, *, metadata: bool = True) -> None:
        info = self.folder / f"{name}-1.2.dist-info"
        info.mkdir()
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        data = entry_points.encode() if isinstance(entry_points, str) else entry_points
        (info / "entry_points.txt").write_bytes(data)

    def package(self, module: str, manifest: str, driver: str = DRIVER) -> None:
        package = self.folder / module
        package.mkdir()
        (package / "__init__.py").write_text(manifest)
        (package / "driver.py").write_text(driver)

    def channel(self, module: str, *, plugin_id: str, driver: str = DRIVER) -> None:
        """A whole distribution with one channel."""
        self.package(module, MANIFEST.format(id=plugin_id, module=module), driver)
        self.install(module, f"[gatewayd.channels]\n{plugin_id} = {module}:PLUGIN\n")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.syspath_prepend(tmp_path)
    before: dict[str, ModuleType] = dict(sys.modules)
    yield Shop(tmp_path)
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


def test_the_built_ins_are_registered_by_entry_points() -> None:
    registry = Registry.installed()
    assert set(registry.channel_ids) >= {"loopback", "slack", "telegram", "webchat"}
    assert set(registry.agent_ids) >= {"callable", "echo"}
    assert registry.problems == ()


def test_a_third_partys_channel_comes_the_same_way_and_is_imported_step_by_step(shop: Shop) -> None:
    shop.channel("acme_chat", plugin_id="acme")
    registry = Registry.installed()
    assert "acme" in registry.channel_ids
    assert "acme_chat" not in sys.modules
    plugin = registry.channel("acme")
    assert plugin.label == "A channel"
    assert registry.channel("acme") is plugin
    assert "acme_chat.driver" not in sys.modules
    assert registry.settings(plugin).__struct_fields__ == ("colour",)
    assert callable(registry.channel_opener(plugin))


def test_loading_every_manifest_imports_no_driver() -> None:
    code = (
        "import sys\n"
        "from gatewayd.plugins import Registry\n"
        "from gatewayd.model.errors import PluginError\n"
        "registry = Registry.installed()\n"
        "loaded = [registry.channel(i).id for i in registry.channel_ids] + [registry.agent(i).id for i in registry.agent_ids]\n"
        "heavy = {'httpx2', 'quart', 'hypercorn', 'trio', 'structlog', 'markdown_it'} & set(sys.modules)\n"
        "drivers = [name for name in sys.modules if name.startswith('gatewayd.channels.') and name.count('.') > 2]\n"
        "print(len(loaded), sorted(heavy), drivers)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "10 [] []\n"


def test_an_unknown_id_is_answered_with_what_there_is() -> None:
    registry = Registry.of(channels=[ChannelPlugin(id="one", label="", settings="a:B", open="a:c")])
    with pytest.raises(PluginError, match=r'no channel "two" is installed; there are: one'):
        registry.channel("two")
    with pytest.raises(PluginError, match="there are: none"):
        registry.agent("two")


def test_a_channel_for_another_version_of_the_port_is_refused_with_what_to_do() -> None:
    registry = Registry.of(channels=[ChannelPlugin(id="one", label="", settings="a:B", open="a:c", api=2)])
    with pytest.raises(PluginError, match=r"written for version 2 of the channel port.* has version 1: install a release"):
        registry.channel("one")
    assert registry.channel_or_placeholder("one").open == "-"


def test_two_distributions_with_one_id_are_both_named_and_neither_wins(shop: Shop) -> None:
    shop.channel("acme_chat", plugin_id="acme")
    shop.channel("evil_chat", plugin_id="acme")
    shop.channel("other_chat", plugin_id="other")
    registry = Registry.installed()
    with pytest.raises(PluginError, match="offered more than once") as caught:
        registry.channel("acme")
    assert "acme_chat 1.2" in caught.value.reason
    assert "evil_chat 1.2" in caught.value.reason
    assert registry.channel("other").id == "other"


def test_a_second_copy_of_one_distribution_is_not_a_second_offer(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.channel("acme_chat", plugin_id="acme")
    older = shop.folder / "older"
    older.mkdir()
    Shop(older).install("Acme.Chat", "[gatewayd.channels]\nacme = nowhere:PLUGIN\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(older)])
    assert Registry.installed().channel("acme").label == "A channel"


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("OTHER = 1", "AttributeError"),
        ("PLUGIN = {'id': 'acme'}", "the manifest is a dict, not a ChannelPlugin"),
        (MANIFEST.format(id="other", module="acme_chat"), 'the manifest calls itself "other"'),
        (LIMITED.format("text_limit", 'TextLimit(3, "bytes")'), "a limit of 3 bytes cannot hold every character"),
        (LIMITED.format("text_limit", 'TextLimit(300, "bytes", 0)'), "a message has at least one line"),
        (LIMITED.format("caption_limit", 'TextLimit(0, "chars")'), "a limit of 0 chars cannot hold every character"),
        (LIMITED.format("text_limit", "4096"), "Expected `object | null`, got `int` - at `$.text_limit`"),
        (LIMITED.format("resend_safe_seconds", "'soon'"), "Expected `float | null`, got `str` - at `$.resend_safe_seconds`"),
    ],
)
def test_a_broken_manifest_names_its_distribution_and_harms_no_other(shop: Shop, manifest: str, expected: str) -> None:
    shop.package("acme_chat", manifest)
    shop.install("acme_chat", "[gatewayd.channels]\nacme = acme_chat:PLUGIN\n")
    shop.channel("fine_chat", plugin_id="fine")
    registry = Registry.installed()
    assert registry.problems == ()
    with pytest.raises(PluginError) as caught:
        registry.channel("acme")
    assert 'channel "acme" (acme_chat 1.2)' in caught.value.reason
    assert expected in caught.value.reason
    assert registry.channel("fine").id == "fine"


def test_an_agent_manifest_is_not_a_channel_manifest() -> None:
    registry = Registry.of(channels=[AgentPlugin(id="echo", label="", settings="a:B", open="a:c")])  # type: ignore[list-item]
    with pytest.raises(PluginError, match="the manifest is a AgentPlugin, not a ChannelPlugin"):
        registry.channel("echo")


@pytest.mark.parametrize(
    "entry_points",
    [b"[gatewayd.channels]\nno equals sign\n", b"[gatewayd.channels]\nx = \xff\xfe\n"],
)
def test_unreadable_entry_points_are_a_named_problem_and_the_rest_still_works(shop: Shop, entry_points: bytes) -> None:
    shop.install("bad_dist", entry_points)
    shop.channel("fine_chat", plugin_id="fine")
    registry = Registry.installed()
    assert registry.channel("fine").id == "fine"
    assert len(registry.problems) == 1
    assert "bad_dist 1.2" in registry.problems[0]


def test_a_distribution_without_metadata_is_named_by_its_folder(shop: Shop) -> None:
    shop.install("bare_dist", "[gatewayd.channels]\nbare = bare_module:PLUGIN\n", metadata=False)
    with pytest.raises(PluginError, match="bare_dist"):
        Registry.installed().channel("bare")


def test_an_entry_point_without_an_attribute_is_refused(shop: Shop) -> None:
    shop.package("acme_chat", MANIFEST.format(id="acme", module="acme_chat"))
    shop.install("acme_chat", "[gatewayd.channels]\nacme = acme_chat\n")
    with pytest.raises(PluginError, match="the manifest is a module"):
        Registry.installed().channel("acme")


def one(settings: str, opener: str = "msgspec:Struct") -> tuple[Registry, ChannelPlugin, AgentPlugin]:
    channel = ChannelPlugin(id="acme", label="", settings=settings, open=opener)
    agent = AgentPlugin(id="acme", label="", settings=settings, open=opener)
    return Registry.of([channel], [agent]), channel, agent


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("no_such_module_at_all:Settings", "ModuleNotFoundError"),
        ("msgspec:NoSuchThing", "AttributeError"),
        ("msgspec:convert", "is not a msgspec Struct"),
        ("builtins:int", "is not a msgspec Struct"),
        ("tests.config.plugins:Unusable", "cannot be decoded: NameError"),
        ("msgspec", "not of the form module:attribute"),
        (":x", "not of the form module:attribute"),
    ],
)
def test_settings_that_cannot_be_used(settings: str, expected: str) -> None:
    registry, channel, agent = one(settings)
    with pytest.raises(PluginError) as caught:
        registry.settings(channel)
    assert expected in caught.value.reason
    assert 'channel "acme" (given directly)' in caught.value.reason
    with pytest.raises(PluginError, match='agent core "acme"'):
        registry.settings(agent)


def test_an_opener_must_be_callable_and_importable() -> None:
    registry, channel, agent = one("msgspec:Struct", "sys:maxsize")
    with pytest.raises(PluginError, match="'sys:maxsize' is not callable"):
        registry.channel_opener(channel)
    with pytest.raises(PluginError, match="'sys:maxsize' is not callable"):
        registry.agent_opener(agent)
    registry, _, agent = one("msgspec:Struct", "msgspec:Struct")
    assert registry.agent_opener(agent) is Struct  # type: ignore[comparison-overlap]


def test_a_plugin_error_parks_the_account_that_needs_the_plugin() -> None:
    assert issubclass(PluginError, NeedsOperator)


def test_the_cause_of_a_failed_import_is_kept_for_the_log(shop: Shop) -> None:
    shop.channel("acme_chat", plugin_id="acme", driver="1 / 0")
    registry = Registry.installed()
    with pytest.raises(PluginError, match="ZeroDivisionError") as caught:
        registry.settings(registry.channel("acme"))
    assert "driver.py" in trace_of(caught.value.__cause__ or caught.value)


def test_a_kind_of_core_offers_its_proxy_and_a_broken_one_harms_no_other() -> None:
    def kind(name: str, proxy: str | None) -> AgentPlugin:
        return AgentPlugin(id=name, label=name, settings="msgspec:Struct", open="msgspec:Struct", proxy=proxy)

    ours = "gatewayd.agents.opencode.proxy.routes:PROXY"
    broken: list[PluginError] = []
    registry = Registry.of(
        agents=[kind("a", ours), kind("b", None), kind("c", "sys:maxsize"), kind("d", "nowhere:X"), kind("e", ours)]
    )
    proxies = registry.agent_proxies(broken.append)
    assert proxies["a"] is proxies["e"]
    assert set(proxies) == {"a", "e"}
    assert ["'sys:maxsize' is not an AgentProxy" in broken[0].reason, "cannot be imported" in broken[1].reason] == [True, True]
    assert set(Registry.installed().agent_proxies(broken.append)) == {"opencode"}
    assert len(broken) == 2
