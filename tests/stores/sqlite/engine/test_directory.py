import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from gatewayd.model.errors import StoreRefused
from gatewayd.stores.sqlite.engine.directory import hold_directory, who_can_read
from gatewayd.stores.sqlite.engine.files import open_files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_all_that_is_made_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(open_files(tmp_path / "a" / "state")) as files:
            files.writer.execute("INSERT INTO state VALUES ('a', 'b', 'c', 'd')")
            assert mode(tmp_path / "a" / "state") == 0o700
            found = {path.name: mode(path) for path in files.path.parent.iterdir()}
    finally:
        os.umask(before)
    assert found == dict.fromkeys(["gatewayd.db", "gatewayd.db-wal", "gatewayd.db-shm", "gatewayd.lock"], 0o600)


def test_a_copy_that_others_may_read_is_made_private(tmp_path: Path) -> None:
    open_files(tmp_path).close()
    (tmp_path / "gatewayd.db").chmod(0o644)
    open_files(tmp_path).close()
    assert mode(tmp_path / "gatewayd.db") == 0o600


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    open_files(tmp_path).close()
    assert mode(tmp_path) == 0o750


def test_a_directory_is_held_by_one(tmp_path: Path) -> None:
    first = hold_directory(tmp_path)
    with pytest.raises(StoreRefused, match=f"in use by process {os.getpid()}: stop that one first"):
        hold_directory(tmp_path)
    first.release()
    hold_directory(tmp_path).release()


def test_a_lock_file_without_a_pid_is_still_a_lock(tmp_path: Path) -> None:
    held = hold_directory(tmp_path)
    (tmp_path / "gatewayd.lock").write_text("")
    with pytest.raises(StoreRefused, match="in use by another process"):
        hold_directory(tmp_path)
    held.release()


def test_the_note_of_a_store_outlives_its_process(tmp_path: Path) -> None:
    first = hold_directory(tmp_path)
    assert not first.store_was_made
    first.note_store()
    first.release()
    second = hold_directory(tmp_path)
    second.release()
    assert second.store_was_made
    assert (tmp_path / "gatewayd.lock").read_text().splitlines()[0] == str(os.getpid())


def test_what_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreRefused, match=r"state directory .*/file/state cannot be written: Not a directory"):
        hold_directory(tmp_path / "file" / "state")
    with pytest.raises(StoreRefused, match=r"state directory .*/file cannot be written: File exists"):
        hold_directory(tmp_path / "file")
    (tmp_path / "state" / "gatewayd.lock").mkdir(parents=True)
    with pytest.raises(StoreRefused, match="cannot be written: Is a directory"):
        hold_directory(tmp_path / "state")


@pytest.mark.parametrize("bits", [0o777, 0o1777, 0o770, 0o2775, 0o702, 0o720])
def test_a_directory_in_which_others_can_write_is_refused_with_the_cure(tmp_path: Path, bits: int) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(bits)
    with pytest.raises(StoreRefused, match=rf"others can write in .* \(mode {bits:04o}\): chmod 700 {state}") as caught:
        hold_directory(state)
    assert not caught.value.may_pass
    assert list(state.iterdir()) == []
    state.chmod(0o700)
    hold_directory(state).release()


def test_another_one_s_directory_is_refused(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a directory away")
    os.chown(tmp_path, 4711, -1)
    with pytest.raises(StoreRefused, match=r"belongs to user 4711, and gatewayd runs as user 0: chown 0"):
        hold_directory(tmp_path)


@pytest.mark.parametrize(("bits", "told"), [(0o700, False), (0o500, False), (0o750, True), (0o755, True), (0o711, True)])
def test_who_can_look_into_it_is_said(tmp_path: Path, bits: int, told: bool) -> None:
    tmp_path.chmod(bits)
    assert (f"(mode {bits:04o}): chmod 700" in (who_can_read(tmp_path) or "")) == told


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("of somebody else")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "gatewayd.lock").symlink_to(other)
    with pytest.raises(StoreRefused, match="is a symbolic link"):
        hold_directory(state)
    assert other.read_text() == "of somebody else"
