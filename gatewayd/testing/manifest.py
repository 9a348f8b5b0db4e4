"""What a manifest promises, for channels and for agent cores alike."""

import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from typing import ClassVar

import pytest
from msgspec import Struct

from gatewayd.ports.agent import AgentPlugin
from gatewayd.ports.channel import ChannelPlugin

PATIENCE = 10.0
"""Real seconds after which a test gives up: nothing in it takes a hundredth of that."""


def resolve(reference: str) -> object:
    """What ``module:attribute`` names."""
    module, _, attribute = reference.partition(":")
    found: object = getattr(import_module(module), attribute)
    return found


def count_sockets() -> int:
    """Sockets of this process (Linux)."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
        except FileNotFoundError:
            continue
    return found


class ManifestContract:
    """``manifest_module`` is the module that holds ``plugin`` as ``PLUGIN``; ``group`` is the group of its entry point."""

    plugin: ClassVar[ChannelPlugin | AgentPlugin]
    manifest_module: ClassVar[str]
    group: ClassVar[str]

    def test_the_manifest_imports_no_driver(self) -> None:
        """gatewayd loads every manifest that is installed. One whose driver is not used must cost nothing and break nothing."""
        driver = self.plugin.open.partition(":")[0]
        if driver == self.manifest_module:
            pytest.skip("the driver is as small as its manifest, and in the same module")
        heavy = {driver, "trio", "anyio", "httpx2", "quart"}
        program = (
            "import sys, importlib\n"
            f"plugin = importlib.import_module({self.manifest_module!r}).PLUGIN\n"
            f"print(plugin.id, *sorted({heavy!r} & sys.modules.keys()))\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout.split(), done.stderr) == ([self.plugin.id], "")

    def test_the_manifest_is_registered_and_names_what_exists(self) -> None:
        """The configuration is checked against the settings without opening anything; an unknown key has to be an error."""
        found = list(entry_points(group=self.group, name=self.plugin.id))
        assert found, (
            f"no installed package has the entry point {self.plugin.id!r} in the group {self.group}: look at pyproject.toml, "
            "and install the package again (pip install -e .)"
        )
        assert len(found) == 1, f"several installed packages have the entry point {self.plugin.id!r}: uninstall all but one"
        [entry] = found
        assert entry.load() == self.plugin
        assert callable(resolve(self.plugin.open))
        settings = resolve(self.plugin.settings)
        assert isinstance(settings, type)
        assert issubclass(settings, Struct)
        assert settings.__struct_config__.frozen
        assert settings.__struct_config__.forbid_unknown_fields
