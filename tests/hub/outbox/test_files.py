"""Files that go out: kept before their row is committed, carried to the platform, and deleted when their row is gone."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as replaced

from gatewayd.channels.loopback import PLUGIN
from gatewayd.hub.operations.trace import Tracer
from gatewayd.hub.outbox import files as module
from gatewayd.hub.outbox.files import TooLarge, shown_name
from gatewayd.kit.transcript import lines_of
from gatewayd.model.message.payload import SendFile, SendText
from gatewayd.ports.channel import TextLimit
from gatewayd.ports.store import OutboundRow
from gatewayd.testing.services import FileInMemory
from tests.hub.street import ALICE, Street, now, open_street

DATA = b"%PDF-1.7 " * 1000


class Broken(FileInMemory):
    """An agent that is gone in the middle."""

    async def __anext__(self) -> bytes:
        if data := await self.read(10):
            return data
        raise ValueError("the agent is gone")


def kept(street: Street) -> list[Path]:
    return sorted((street.folder).glob("*"))


async def send(street: Street, **about: str) -> OutboundRow:
    """Send a file. Returns the last row about it."""
    return (await street.files.send("loopback", "main", ALICE, FileInMemory(DATA), name="plan.pdf", **about))[-1]


async def settled(street: Street, row: OutboundRow) -> OutboundRow:
    """The row at its end. Threads read the files, so a clock that jumps would not wait for them."""
    while street.outbox.is_unsettled(row.id):
        await street.outbox.wait_settled()
    return await street.row_now(row)


async def test_a_file_is_sent_with_its_caption(tmp_path: Path) -> None:
    async with open_street(tmp_path) as street:
        row = await send(street, mime="application/pdf", caption="The *plan*")
        [file] = kept(street)
        assert (file.stat().st_mode & 0o777, street.folder.stat().st_mode & 0o777) == (0o600, 0o700)
        assert (await settled(street, row)).state == "sent"
        payload = street.platform().sent[-1]
        assert isinstance(payload, SendFile)
        assert (payload.name, payload.mime, payload.size_bytes, payload.caption.text) == (
            "plan.pdf",
            "application/pdf",
            len(DATA),
            "The *plan*",
        )
        assert street.platform().received == {"1": DATA}
        assert "plan.pdf" not in file.name


async def test_a_file_outlives_a_restart(tmp_path: Path) -> None:
    async with open_street(tmp_path, started=False) as street:
        row = await send(street)
    async with open_street(tmp_path) as street:
        await settled(street, row)
        assert street.platform().received == {"1": DATA}


async def test_a_file_that_is_gone_is_a_dead_letter(tmp_path: Path) -> None:
    async with open_street(tmp_path, started=False) as street:
        row = await send(street)
        kept(street)[0].write_bytes(b"something else")
        async with street.run():
            [behind] = await street.reply("behind it")
            await settled(street, behind)
        found = await street.row_now(row)
        assert (found.state, found.reason) == ("dead", "the file is gone, or is not what was written")
        assert street.platform().texts == ["behind it"]


@pytest.mark.parametrize("changes", [{"files": False}, {"file_bytes": len(DATA) - 1}])
async def test_where_a_file_cannot_be_sent_its_caption_and_name_are_a_text(tmp_path: Path, changes: dict[str, object]) -> None:
    async with open_street(tmp_path, plugin=replaced(PLUGIN, **changes)) as street:
        await settled(street, await send(street, caption="The plan"))
        assert street.platform().texts == ["The plan\n\n(The file `plan.pdf`, 9.0 kB, cannot be sent here.)"]
        assert not kept(street)


async def test_a_caption_that_is_too_long_stands_behind_the_file(tmp_path: Path) -> None:
    async with open_street(tmp_path, plugin=replaced(PLUGIN, caption_limit=TextLimit(10, "chars"))) as street:
        await settled(street, await send(street, caption="This is the plan"))
        file, text = street.platform().sent
        assert isinstance(file, SendFile)
        assert isinstance(text, SendText)
        assert (file.caption.text, text.body.text) == ("", "This is the plan")


async def test_what_is_not_written_whole_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 5000)
    async with open_street(tmp_path) as street:
        with pytest.raises(ValueError, match="the agent is gone"):
            await street.files.send("loopback", "main", ALICE, Broken(b"half of it"), name="plan.pdf")
        with pytest.raises(TooLarge):
            await street.files.send("loopback", "main", ALICE, FileInMemory(DATA), name="plan.pdf")
        assert not kept(street)
        assert await street.store.ready_numbers("loopback", "main", after_id=0, limit=9) == []


async def test_a_file_goes_with_its_row(tmp_path: Path) -> None:
    async with open_street(tmp_path) as street:
        await settled(street, await send(street))
        [file] = kept(street)
        lost, strange = street.folder / ("ab" * 16), street.folder / "notes.txt"
        for path in (lost, strange, file):
            path.touch()
            os.utime(path, (now() - 4000, now() - 4000))
        fresh = street.folder / ("cd" * 16)
        fresh.touch()
        os.utime(fresh, (now(), now()))
        await street.files.sweep()
        assert set(kept(street)) == {file, fresh, strange}
        await street.store.sweep("outbound", lambda old: False, before=now() + 1e6, after=None, limit=10)
        await street.files.sweep()
        assert set(kept(street)) == {fresh, strange}


async def test_a_file_is_a_line_of_the_transcript_and_of_the_trace(tmp_path: Path) -> None:
    async with open_street(tmp_path) as street:
        row = await settled(street, await send(street, caption="The plan"))
        [line] = lines_of(await street.store.transcript("loopback", "main", ALICE, limit=9))
        assert (line.text, line.state) == ("The plan\n\nplan.pdf", "sent")
        trace = await Tracer(street.store, accounts=lambda: {("loopback", "main"): None}).trace(f"out-{row.id}")
        assert [entry.text for entry in trace.entries if entry.what == "written"] == [
            "file (9000 bytes) to loopback/main dm:alice"
        ]


@given(st.text(max_size=300))
def test_the_name_of_a_file_is_one_line_without_a_path(name: str) -> None:
    shown = shown_name(name)
    assert 1 <= len(shown) <= 200
    assert not re.search(r"[\\/\n\r\0]", shown)
    assert not shown.startswith(".")
