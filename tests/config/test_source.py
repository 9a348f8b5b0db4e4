import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.source import MAX_BYTES, MAX_DEPTH, Source
from gatewayd.model.errors import ConfigError, ConfigProblem


def refusal(data: bytes | str) -> ConfigProblem:
    with pytest.raises(ConfigError) as caught:
        Source(data.encode() if isinstance(data, str) else data, Path("/x/gatewayd.toml"))
    (problem,) = caught.value.problems
    assert problem.file == "/x/gatewayd.toml"
    return problem


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("a = 1\nb = \n", "is not TOML: Invalid value", 2),
        ("a = 1\na = 2", "is not TOML: Cannot overwrite a value", 2),
        ("[a]\n[a]", "is not TOML: Cannot declare ('a',) twice", 2),
        ("a = 1 b = 2", "is not TOML: Expected newline or end of document", 1),
        ('a = """\nunfinished', "is not TOML: ", 2),
        ("a = [1,\n2,\n", "is not TOML: ", 3),
        ("a = '\x00'", "is not TOML: ", 1),
        ("a = 99999999999999999999999999999999-99-99", "is not TOML: ", 1),
    ],
)
def test_what_is_not_toml_is_told_with_its_line(text: str, what: str, line: int) -> None:
    problem = refusal(text)
    assert what in problem.what
    assert problem.line == line


def test_what_is_not_utf8_is_told_with_its_line() -> None:
    problem = refusal(b"a = 1\nb = '\xff'")
    assert (problem.what, problem.line) == ("is not UTF-8 text", 2)


def test_what_is_too_large_is_refused() -> None:
    assert refusal(b"#" * (MAX_BYTES + 1)).what == "is larger than 1,048,576 bytes"
    assert Source(b"#" * MAX_BYTES).table == {}


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000 + "]" * 5000,
        "a = " + "{b = " * 5000 + "1" + "}" * 5000,
        "a = " + "[" * 40 + "]" * 40,
        "a" + ".a" * 40 + " = 1",
        "a" + ".a" * 200_000 + " = 1",
        "\n[" + "'a' . " * 40 + '"b"]',
        "x = { y" + ".z" * 40 + " = 1 }",
        "a = [\n" + "[\n" * 40 + "]\n" * 40 + "]",
    ],
)
def test_what_is_nested_too_deeply_is_refused(text: str) -> None:
    assert "nested" in refusal(text).what


def test_what_is_nested_as_deeply_as_allowed_is_not_refused() -> None:
    key = ".".join("a" * MAX_DEPTH)
    assert Source(f"[{key}]".encode()).line(tuple("a" * MAX_DEPTH)) == 1
    assert Source(f"text = '{'. ' * 10_000}'".encode()).line(("text",)) == 1


@pytest.mark.parametrize("value", ["9" * 5000, "[1, " + "1" * 4301 + "]", "-" + "1" * 5000])
def test_a_number_that_python_does_not_make_is_refused(value: str) -> None:
    assert "not TOML" in refusal(f"a = {value}").what


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, what in [
        ("missing", "cannot be read: No such file or directory; gatewayd init FILE writes a first one"),
        ("", "is not a regular file"),
        ("fifo", "is not a regular file"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
        ("x" * 300, "cannot be read: File name too long"),
    ]:
        with pytest.raises(ConfigError) as caught:
            Source.read(tmp_path / name)
        assert caught.value.problems[0].what == what
        assert caught.value.problems[0].file == str(tmp_path / name)


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "gatewayd.toml"
    with path.open("wb") as file:
        file.truncate(10 * MAX_BYTES)
    with pytest.raises(ConfigError, match="is larger than"):
        Source.read(path)


LINES = '''\
# a comment with [brackets] = 1

[gateway]  # and one here
bind = "x"
text = """
[not.a.table]
key = 1
"""
ids = [
  1,  # ] not the end
  2,
]
after = 1
table.inner.leaf = 1
"quoted key" = { a = 1, b.c = 2 }

[channels.telegram.accounts."main bot"]
mode = "poll"

[[bindings]]
agent = "a"
[bindings.match]
peer = "x"

[[bindings]]
agent = "b"
match = { peer = "y" }
[[bindings.deep]]
x = 1
[[bindings.deep]]
x = 2
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("gateway",), 3),
        (("gateway", "bind"), 4),
        (("gateway", "text"), 5),
        (("not",), None),
        (("gateway", "key"), 3),
        (("gateway", "ids"), 9),
        (("gateway", "ids", 1), 9),
        (("gateway", "after"), 13),
        (("gateway", "table", "inner", "leaf"), 14),
        (("gateway", "quoted key", "b", "c"), 15),
        (("channels",), 17),
        (("channels", "telegram"), 17),
        (("channels", "telegram", "accounts", "main bot", "mode"), 18),
        (("channels", "telegram", "accounts", "main bot", "missing"), 17),
        (("bindings",), 20),
        (("bindings", 0), 20),
        (("bindings", 0, "agent"), 21),
        (("bindings", 0, "match", "peer"), 23),
        (("bindings", 1, "agent"), 26),
        (("bindings", 1, "match", "peer"), 27),
        (("bindings", 1, "deep", 0, "x"), 29),
        (("bindings", 1, "deep", 1, "x"), 31),
        ((), None),
        (("nothing",), None),
    ],
)
def test_the_lines_of_keys(key: tuple[str | int, ...], line: int | None) -> None:
    assert Source(LINES.encode()).line(key) == line
    assert Source(LINES.replace("\n", "\r\n").encode()).line(key) == line


def test_headers_are_told_from_inline_tables() -> None:
    source = Source(LINES.encode())
    assert source.header(("gateway", "quoted key", "a")) == ("gateway",)
    assert source.header(("channels", "telegram", "accounts", "main bot", "mode"))[-1] == "main bot"
    assert source.header(("bindings", 1, "match", "peer")) == ("bindings", 1)
    assert source.header(("nothing",)) == ()


def test_an_array_of_very_many_lines_does_not_hide_what_follows() -> None:
    text = "ids = [\n" + "  'a',\n" * 5000 + "]\nafter = 1\n"
    assert Source(text.encode()).line(("after",)) == 5003


KEYS = st.text(alphabet="ab\"' .=[]#é\\", min_size=1, max_size=4)
VALUES = st.one_of(st.integers(), st.text(max_size=20), st.lists(st.text(max_size=5), max_size=3))


def basic(text: str) -> str:
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in text) + '"'


def written(value: object) -> str:
    if isinstance(value, list):
        return "[\n" + "".join(f"  {written(item)}, # ]\n" for item in value) + "]"
    return basic(value) if isinstance(value, str) else str(value)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4))
def test_every_key_is_found_on_the_line_it_was_written_on(tables: dict[str, dict[str, object]]) -> None:
    lines: list[str] = []
    expected: dict[tuple[str | int, ...], int] = {}
    for table, content in tables.items():
        expected[(table,)] = len(lines) + 1
        lines.append(f"[{basic(table)}]")
        for key, value in content.items():
            expected[(table, key)] = len(lines) + 1
            lines.extend(f"{basic(key)} = {written(value)}".split("\n"))
    text = "\n".join(lines)
    assert tomllib.loads(text) == tables
    source = Source(text.encode())
    assert {key: source.line(key) for key in expected} == expected


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_refusal_in_words(data: bytes) -> None:
    try:
        found: object = Source(data).table
    except ConfigError as error:
        found = error.problems[0].what
    assert isinstance(found, str) or tomllib.loads(data.decode()) == found
    assert found != ""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_from_windows_is_read(end: str) -> None:
    text = end.join(["# a file", "[a]", "b = 1", "c = 'd'", ""])
    source = Source(b"\xef\xbb\xbf" + text.encode(), Path("/x/gatewayd.toml"))
    assert source.table == {"a": {"b": 1, "c": "d"}}
    assert source.line(("a", "c")) == 4


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_another_encoding_is_named(encoding: str) -> None:
    assert "UTF-16" in refusal(("\ufeff" if encoding != "utf-16" else "").encode(encoding) + "a = 1".encode(encoding)).what


def _written(folder: Path, file_mode: int, folder_mode: int) -> str | None:
    file = folder / "etc" / "gatewayd.toml"
    file.parent.mkdir()
    file.write_text("")
    file.chmod(file_mode)
    file.parent.chmod(folder_mode)
    return Source.read(file).writable_by


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o600, 0o700), (0o644, 0o755), (0o640, 0o1777), (0o444, 0o555)])
def test_a_file_that_only_we_can_write(tmp_path: Path, file_mode: int, folder_mode: int) -> None:
    assert _written(tmp_path, file_mode, folder_mode) is None


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "what"),
    [(0o666, 0o755, "the file (mode 0666)"), (0o660, 0o755, "the file (mode 0660)"), (0o600, 0o777, "its directory (mode 0777)")],
)
def test_a_file_that_others_can_write_is_told_of(tmp_path: Path, file_mode: int, folder_mode: int, what: str) -> None:
    told = _written(tmp_path, file_mode, folder_mode)
    assert told is not None
    assert told.startswith(f"others can write {what}: chmod go-w")


def test_whose_file_it_is_counts_too(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    (tmp_path / "gatewayd.toml").write_text("")
    os.chown(tmp_path / "gatewayd.toml", 4711, -1)
    assert (Source.read(tmp_path / "gatewayd.toml").writable_by or "").startswith("the file belongs to user 4711")
