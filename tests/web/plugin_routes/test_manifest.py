"""Which manifests with routes are refused, and that none can take a path of gatewayd itself."""

from pathlib import Path
from typing import get_args

import pytest
import trio.testing
from msgspec.structs import replace

from gatewayd.channels import loopback, webchat
from gatewayd.model.config import Role
from gatewayd.model.errors import PluginError
from gatewayd.plugins import Registry
from gatewayd.ports.channel import RESERVED, HttpRoute, unusable_routes
from tests.web.plugin_routes.porch import PLUGIN
from tests.web.site import open_site


async def test_the_reserved_ids_are_the_paths_of_gatewayd_and_the_roles(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        rules = [rule.rule.split("/") for rule in site.server._app.url_map.iter_rules()]
    assert {parts[2] for parts in rules if parts[1] == "v1"} | set(get_args(Role)) == RESERVED


@pytest.mark.parametrize("manifest", [PLUGIN, webchat.PLUGIN, loopback.PLUGIN], ids=lambda plugin: plugin.id)
def test_good_manifests_are_taken(manifest: object) -> None:
    assert unusable_routes(manifest) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("channel", sorted(RESERVED))
def test_a_reserved_id_is_refused_only_with_routes(channel: str) -> None:
    with pytest.raises(PluginError, match=f"cannot have the id '{channel}'"):
        Registry.of([replace(PLUGIN, id=channel)]).channel(channel)
    plain = replace(PLUGIN, id=channel, http=None, routes=())
    assert Registry.of([plain]).channel(channel) == plain
    assert Registry.of([replace(PLUGIN, id=channel)]).channels_with_routes() == []


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        ("", True),
        ("a", True),
        ("a/b-c.d_e~f", True),
        ("people/<name>", True),
        ("<one>/<two>", True),
        ("/a", False),
        ("a/", False),
        ("a//b", False),
        ("a b", False),
        ("a%2fb", False),
        ("<path:rest>", False),
        ("<int:number>", False),
        ("<ACCOUNT>", False),
        ("<one>/<one>", False),
        ("<one", False),
        ("a<one>", False),
        ("..", False),
        ("a/../b", False),
        (".", False),
        ("a\n", False),
        ("a?b", False),
    ],
)
def test_a_path_is_a_path_below_the_plug_ins_own(path: str, fits: bool) -> None:
    assert (unusable_routes(replace(PLUGIN, routes=(HttpRoute("GET", path),))) is None) == fits


@pytest.mark.parametrize(
    "wrong",
    [
        replace(PLUGIN, http=None),
        replace(PLUGIN, id="Porch"),
        replace(PLUGIN, id="porch/main"),
        replace(PLUGIN, id=".."),
        replace(PLUGIN, front_page=True),
        replace(PLUGIN, front_page=True, one_account=True, routes=(HttpRoute("POST"),)),
        replace(PLUGIN, routes=(HttpRoute("GET", "a"), HttpRoute("GET", "a"))),
    ],
)
def test_what_cannot_be_served_is_refused(wrong: object) -> None:
    assert unusable_routes(wrong) is not None  # type: ignore[arg-type]
