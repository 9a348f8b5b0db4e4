"""Files to send are read only if they are what the hub has written."""

import os
from pathlib import Path

import pytest

from gatewayd.kit.files import CHUNK_BYTES, open_file
from gatewayd.model.errors import SendRejected

NAME = "0123456789abcdef" * 2
DATA = bytes(range(256)) * 300


async def test_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(DATA)
    async with open_file(tmp_path, NAME, len(DATA)) as file:
        assert await file.read(10) == DATA[:10]
        rest = [chunk async for chunk in file]
        assert b"".join(rest) == DATA[10:]
        assert max(map(len, rest)) == CHUNK_BYTES
        assert await file.read(10) == b""


async def rejected(folder: Path | None, name: str = NAME, size: int = len(DATA)) -> bool:
    try:
        async with open_file(folder, name, size):
            return False
    except SendRejected as error:
        return "is gone, or is not what was written" in error.reason


async def test_nothing_else_is_opened(tmp_path: Path) -> None:
    secret, folder = tmp_path / NAME, tmp_path / "files"
    secret.write_bytes(DATA)
    folder.mkdir()
    assert await rejected(None)
    assert await rejected(folder)
    assert await rejected(folder, f"../{NAME}")
    assert await rejected(folder, str(secret))
    (folder / "name").write_bytes(DATA)
    assert await rejected(folder, "name")
    (folder / NAME).symlink_to(secret)
    assert await rejected(folder), "a link"
    (folder / NAME).unlink()
    os.mkfifo(folder / NAME)
    assert await rejected(folder)
    (folder / NAME).unlink()
    (folder / NAME).mkdir()
    assert await rejected(folder, size=(folder / NAME).stat().st_size)


async def test_a_file_of_another_size_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(DATA)
    assert await rejected(tmp_path, size=len(DATA) - 1)
    assert await rejected(tmp_path, size=len(DATA) + 1)


async def test_a_file_that_becomes_shorter_is_noticed_and_what_is_added_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(DATA)
    async with open_file(tmp_path, NAME, len(DATA)) as file:
        with (tmp_path / NAME).open("ab") as other:
            other.write(b"more")
        assert b"".join([chunk async for chunk in file]) == DATA
    (tmp_path / NAME).write_bytes(DATA)
    async with open_file(tmp_path, NAME, len(DATA)) as file:
        os.truncate(tmp_path / NAME, 100)
        assert len(await file.read(1000)) == 100
        with pytest.raises(SendRejected, match="is gone"):
            await file.read(1000)
