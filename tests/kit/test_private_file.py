import stat
from pathlib import Path

import pytest

from gatewayd.kit.private_file import write_private


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Somebody's file, and the folder ``ours`` beside it."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "other").write_text("of somebody else")
    return tmp_path / "other"


@pytest.mark.parametrize("name", ["file", ".file.part"])
def test_a_link_is_replaced_and_not_followed(other: Path, name: str) -> None:
    folder = other.parent / "ours"
    (folder / name).symlink_to(other)
    write_private(folder / "file", b"new")
    assert (folder / "file").read_bytes() == b"new"
    assert not (folder / "file").is_symlink()
    assert other.read_text() == "of somebody else"
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_it_is_its_owner_s_only_even_where_there_was_one(other: Path) -> None:
    other.chmod(0o644)
    write_private(other, b"new")
    assert stat.S_IMODE(other.stat().st_mode) == 0o600


def test_what_cannot_be_written_leaves_what_there_was(other: Path) -> None:
    folder = other.parent / "ours"
    (folder / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_private(folder / "file", b"new")
    assert [path.name for path in folder.iterdir()] == ["file"]
