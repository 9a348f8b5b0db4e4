"""The example of docs/how-to/write-a-channel.md, over the real server."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import trio.testing
from msgspec.structs import replace

from gatewayd.ports.channel import unusable_routes
from tests.web.client import request
from tests.web.plugin_routes import porch
from tests.web.plugin_routes.test_routes import ACCOUNTS, ADMIN, JSON, porch_site

GUIDE = Path(__file__).parents[3] / "docs/how-to/write-a-channel.md"
HEAD = "from collections.abc import AsyncIterator\n\nimport anyio\nfrom msgspec import Struct\n"


async def test_the_example_of_the_guide_is_served(
    tmp_path: Path, clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = GUIDE.read_text().partition("## Serve pages and routes of your own")[2]
    [code] = re.findall(r"^```python\n(.*?)^```", section.partition("\n## ")[0], re.S | re.M)
    module = ModuleType("the_example_of_the_guide")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(HEAD + code, module.__dict__)  # noqa: S102
    assert unusable_routes(module.PLUGIN) is None
    plugin = replace(porch.PLUGIN, routes=module.PLUGIN.routes, http=f"{module.__name__}:ROUTES")
    async with porch_site(tmp_path, plugin=plugin, accounts=ACCOUNTS) as site, site.dial() as client:
        assert (await client.ask(request("GET", "/v1/porch/main/callback"))).status == 400
        assert (await client.ask(request("GET", "/v1/porch/main/callback?code=1"))).body == b"You may close this page."
        invite = request("POST", "/v1/porch/main/invitations", headers={**JSON, **ADMIN}, body=b'{"name": "bob"}')
        assert (await client.ask(invite)).json == {"name": "bob", "by": "operator:admin"}
        await client.say(request("GET", "/v1/porch/main/ticks"))
        assert (await client.head())[0] == 200
        assert [await client.chunk() for _ in range(2)] == [b"event: tick\ndata: {}\n\n"] * 2
