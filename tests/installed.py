"""A plug-in outside of gatewayd, installed for a process of its own, without a download."""

import tomllib
from pathlib import Path


def register(pyproject: str, folder: Path) -> None:
    """What ``pip install`` does with the entry points: once ``folder`` is on the path, they are found."""
    project = tomllib.loads(pyproject)["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("".join(groups))
