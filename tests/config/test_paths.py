from pathlib import Path

import pytest

from gatewayd.config import find_config, state_dir, state_dirs, user_config


def test_the_file_that_is_named_is_taken_even_if_it_does_not_exist(tmp_path: Path) -> None:
    assert find_config("nowhere.toml", {"GATEWAYD_CONFIG": "/other"}) == Path("nowhere.toml")
    assert find_config(None, {"GATEWAYD_CONFIG": "/no/where"}, system=tmp_path) == Path("/no/where")


def test_the_systems_file_comes_before_the_users(tmp_path: Path) -> None:
    system, user = tmp_path / "etc.toml", tmp_path / "gatewayd" / "gatewayd.toml"
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert find_config(None, env, system=system) is None
    user.parent.mkdir()
    user.touch()
    assert find_config(None, env, system=system) == user
    system.touch()
    assert find_config(None, env, system=system) == system
    assert find_config(None, {**env, "GATEWAYD_CONFIG": ""}, system=system) == system


def test_a_path_through_a_file_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "gatewayd").touch()
    assert find_config(None, {"XDG_CONFIG_HOME": str(tmp_path)}, system=tmp_path / "no") is None


def test_a_file_that_cannot_be_looked_at_is_not_passed_over(tmp_path: Path) -> None:
    loop = tmp_path / "loop.toml"
    loop.symlink_to(loop)
    assert find_config(None, {}, system=loop) == loop


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/gatewayd/gatewayd.toml"),
        ({"HOME": "/h"}, "/h/.config/gatewayd/gatewayd.toml"),
        ({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}, "/h/.config/gatewayd/gatewayd.toml"),
        ({"XDG_CONFIG_HOME": "", "HOME": "/h"}, "/h/.config/gatewayd/gatewayd.toml"),
        ({"HOME": "relative"}, None),
        ({}, None),
    ],
)
def test_the_users_file(env: dict[str, str], expected: str | None) -> None:
    assert user_config(env) == (None if expected is None else Path(expected))


@pytest.mark.parametrize(
    ("chosen", "env", "expected"),
    [
        ("/a", {"GATEWAYD_STATE_DIR": "/b", "STATE_DIRECTORY": "/c", "XDG_STATE_HOME": "/d"}, ["/a"]),
        (None, {"GATEWAYD_STATE_DIR": "/b", "STATE_DIRECTORY": "/c", "XDG_STATE_HOME": "/d"}, ["/b"]),
        (None, {"STATE_DIRECTORY": "/c:/c2", "XDG_STATE_HOME": "/d"}, ["/c"]),
        (None, {"XDG_STATE_HOME": "/d", "HOME": "/h"}, ["/d/gatewayd", "/var/lib/gatewayd"]),
        (None, {"XDG_STATE_HOME": "d", "HOME": "/h"}, ["/h/.local/state/gatewayd", "/var/lib/gatewayd"]),
        (None, {"STATE_DIRECTORY": ""}, ["/var/lib/gatewayd"]),
    ],
)
def test_the_state_directory(chosen: str | None, env: dict[str, str], expected: list[str]) -> None:
    assert [str(path) for path in state_dirs(chosen, env)] == expected
    assert str(state_dir(chosen, env)) == expected[0]


def test_a_relative_state_directory_is_one_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert state_dir("state", {}) == tmp_path / "state"
