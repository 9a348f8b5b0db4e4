"""The judges, as npm installs them."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from tests import npm


def judges() -> Path:
    """The folder with their ``node_modules``. See :func:`tests.npm.installed`."""
    return npm.installed(Path(__file__).with_name("package.json"), "emulate")


def node(home: Path) -> Path:
    """A Node.js that is new enough for all of them. Skips the test where npm has none for this platform."""
    found = next(iter(home.glob("node_modules/node-*/bin/node")), None)
    if found is None:
        pytest.skip("npm has no Node.js 24 for this platform")
    return found


async def check_values(folder: Path, name: str, values: Sequence[tuple[str, Any]]) -> str:
    """What the compiler says of values of types of @slack/web-api, each with the name of its type."""
    home = judges()
    kinds = ", ".join(sorted({kind for kind, _ in values}))
    lines = [f"const v{at}: {kind} = {json.dumps(value)};" for at, (kind, value) in enumerate(values)]
    (folder / name).write_text("\n".join([f'import type {{ {kinds} }} from "@slack/web-api";', *lines, ""]))
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(home / "node_modules")
    flags = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--moduleResolution", "nodenext"]
    done = await trio.run_process(
        [str(node(home)), str(home / "node_modules/typescript/bin/tsc"), *flags, name],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder)},
        capture_stdout=True,
        check=False,
    )
    return done.stdout.decode()
