import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from gatewayd.config.describe import SOURCES_OF_SECRETS
from gatewayd.config.problems import Problems
from gatewayd.config.secret_sources import MAX_BYTES, SecretReader
from gatewayd.config.source import Source
from gatewayd.model.errors import ConfigError, ConfigProblem
from gatewayd.model.secret import Secret

PASTED = "123456:AAE-canary_pasted"
KEY = ("a", "token")


class Reading:
    """One reading of one secret."""

    def __init__(self, value: object, env: Mapping[str, str], folder: Path) -> None:
        self._collected = Problems(Source(b"[a]\ntoken = 1\n", Path("/x/gatewayd.toml")))
        self.secret = SecretReader(self._collected, env, folder).read(value, KEY)
        self.warnings = self._collected.warnings

    @property
    def problem(self) -> ConfigProblem:
        assert self.secret is None
        with pytest.raises(ConfigError) as caught:
            self._collected.raise_any()
        (problem,) = caught.value.problems
        assert (problem.key, problem.line) == ("[a].token", 2)
        assert PASTED not in repr(problem)
        return problem


def write(path: Path, data: bytes, mode: int = 0o600) -> str:
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_a_file_an_environment_variable_a_credential(tmp_path: Path, end: bytes) -> None:
    name = write(tmp_path / "bot.token", b"the secret \xc3\xa9" + end)
    env = {"TOKEN": "the secret é" + end.decode(), "CREDENTIALS_DIRECTORY": str(tmp_path)}
    for value in ({"file": name}, {"file": "bot.token"}, {"env": "TOKEN"}, {"credential": "bot.token"}):
        reading = Reading(value, env, tmp_path)
        assert reading.secret == Secret("the secret é")
        assert reading.warnings == ()


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "real", b"s3cret-of-ours")
    (tmp_path / "link").symlink_to("real")
    assert Reading({"file": "link"}, {}, tmp_path).secret == Secret("s3cret-of-ours")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o604, 1), (0o644, 1)])
def test_a_file_that_everybody_can_read_is_warned_of(tmp_path: Path, mode: int, warned: int) -> None:
    reading = Reading({"file": write(tmp_path / "token", b"s3cret-of-ours", mode)}, {}, tmp_path)
    assert reading.secret == Secret("s3cret-of-ours")
    assert len(reading.warnings) == warned
    if warned:
        assert (
            f"/x/gatewayd.toml:2: [a].token: the secret's file {tmp_path}/token can be read by every user" in reading.warnings[0]
        )


@pytest.mark.parametrize("value", [PASTED, "", "x"])
def test_a_secret_in_the_configuration_itself_is_refused_with_the_cure(tmp_path: Path, value: str) -> None:
    problem = Reading(value, {}, tmp_path).problem
    assert "put it into a file that only gatewayd can read" in problem.what
    assert problem.found == "a text (not shown)"
    assert problem.allowed == SOURCES_OF_SECRETS


@pytest.mark.parametrize(
    "value",
    [
        [PASTED],
        {},
        {"value": PASTED},
        {PASTED: 1},
        {"file": 3},
        {"env": [PASTED]},
        {"file": PASTED, "env": PASTED},
        {"credential": "x", PASTED: "x"},
        7,
        True,
    ],
)
def test_what_is_no_source_is_told_without_its_content(tmp_path: Path, value: object) -> None:
    problem = Reading(value, {}, tmp_path).problem
    assert (problem.what, problem.allowed) == ("is not a source of a secret", SOURCES_OF_SECRETS)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("TELEGRAM_TOKEN", "the environment variable $TELEGRAM_TOKEN is not set"),
        ("telegram_token9", "the environment variable that is named is not set"),
        ("JBSWY3DPEHPK3PXP", "the environment variable that is named is not set"),
        (PASTED, "env is not the name of an environment variable (not shown: it may be the secret itself)"),
        ("", "env is not the name of an environment variable (not shown: it may be the secret itself)"),
        ("A\n", "env is not the name of an environment variable (not shown: it may be the secret itself)"),
    ],
)
def test_a_variable_that_is_not_there(tmp_path: Path, name: str, what: str) -> None:
    assert Reading({"env": name}, {PASTED: "x"}, tmp_path).problem.what == what


@pytest.mark.parametrize("text", ["", "\n", " \n", "\t"])
def test_an_empty_secret(tmp_path: Path, text: str) -> None:
    assert Reading({"env": "TOKEN"}, {"TOKEN": text}, tmp_path).problem.what == "the secret is empty"


def test_a_secret_too_short_to_be_kept_out_of_texts(tmp_path: Path) -> None:
    assert Reading({"env": "TOKEN"}, {"TOKEN": "abc\n"}, tmp_path).problem.what == "the secret is shorter than 8 characters"


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    write(tmp_path / "binary", b"\xff\xfd\x00")
    write(tmp_path / "large", b"x" * (MAX_BYTES + 1))
    for name, what in [
        ("missing", "cannot be read: No such file or directory"),
        ("", "cannot be read: Is a directory"),
        ("fifo", "is not a regular file"),
        ("binary", "is not UTF-8 text"),
        ("large", f"is larger than {MAX_BYTES} bytes"),
    ]:
        path = f"{tmp_path}/{name}"
        assert Reading({"file": path}, {}, tmp_path).problem.what == f"the secret's file {Path(path)} {what}"


@pytest.mark.parametrize("name", [PASTED, "sub/" + PASTED, "x" * 300])
def test_a_relative_file_that_is_not_there_is_not_repeated(tmp_path: Path, name: str) -> None:
    problem = Reading({"file": name}, {}, tmp_path).problem
    assert problem.what.startswith(f"the secret's file (named relative to {tmp_path}) cannot be read: ")


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_is_no_path(tmp_path: Path, name: str) -> None:
    assert Reading({"file": name}, {}, tmp_path).problem.what == "file is not a path"


def test_credentials_need_systemd(tmp_path: Path) -> None:
    assert "(LoadCredential= in the unit)" in Reading({"credential": PASTED}, {}, tmp_path).problem.what


@pytest.mark.parametrize("name", [PASTED, "telegram", "../outside", "", "."])
def test_a_credential_that_was_not_given(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    write(folder / "telegram.token", b"s3cret-of-ours")
    write(tmp_path / "outside", b"s3cret-of-ours")
    problem = Reading({"credential": name}, {"CREDENTIALS_DIRECTORY": str(folder)}, tmp_path).problem
    assert (problem.what, problem.allowed) == ("systemd gave no credential of this name", "telegram.token")


def test_a_credentials_directory_that_is_not_there(tmp_path: Path) -> None:
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path / "missing")}
    assert Reading({"credential": "x"}, env, tmp_path).problem.allowed == "none"


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_file_from_windows_holds_the_same_secret(tmp_path: Path, end: bytes) -> None:
    read = Reading({"file": write(tmp_path / "token", b"\xef\xbb\xbf" + PASTED.encode() + end)}, {}, tmp_path)
    assert read.secret == Secret(PASTED)


def test_utf_16_is_named(tmp_path: Path) -> None:
    read = Reading({"file": write(tmp_path / "token", PASTED.encode("utf-16"))}, {}, tmp_path)
    assert read.problem.what.endswith("is UTF-16 text: save it as UTF-8")
