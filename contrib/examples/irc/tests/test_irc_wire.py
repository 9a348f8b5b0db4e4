"""Lines of IRC: what is written is read again, and nothing that is written can be read as something else."""

import pytest
from gatewayd_irc.wire import Malformed, Message, Support, parse, render
from hypothesis import given
from hypothesis import strategies as st

WORD = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\0 "), min_size=1).filter(
    lambda text: not text.startswith(":")
)
LAST = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\0"))
COMMAND = st.sampled_from(["PRIVMSG", "JOIN", "CAP"])
KEY = st.from_regex(r"\A\+?[a-z]{1,8}(/[a-z]{1,8})?\Z")
TAGS = st.dictionaries(KEY, st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")), max_size=4)


@given(COMMAND, st.lists(WORD, max_size=3), LAST, TAGS)
def test_what_is_written_is_read(command: str, middle: list[str], last: str, tags: dict[str, str]) -> None:
    line = render(command, *middle, last, tags=tags)
    assert line.endswith(b"\r\n")
    assert line.count(b"\n") == line.count(b"\r") == 1
    assert parse(line[:-2]) == Message(command, (*middle, last), "", tags)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_no_parameter_makes_a_second_line(params: list[str]) -> None:
    try:
        line = render("PRIVMSG", *params)
    except ValueError:
        return
    assert line.count(b"\n") == 1
    assert b"\0" not in line
    assert list(parse(line[:-2]).params) == params


@pytest.mark.parametrize("bad", ["a\nQUIT", "a\rQUIT", "a\0"])
def test_a_line_end_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="line end or NUL"):
        render("PRIVMSG", "#a", bad)


@pytest.mark.parametrize("bad", ["", "a b", ":a"])
def test_a_parameter_that_would_become_another_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        render("PRIVMSG", bad, "text")


@given(st.binary())
def test_any_bytes_are_a_message_or_malformed(line: bytes) -> None:
    try:
        message = parse(line.replace(b"\n", b""))
    except Malformed:
        return
    assert message.command


def test_a_line_of_the_modern_documents() -> None:
    line = b"@id=123AB;rose=;netsplit=tur\\sty\\:\\\\\\b\\ :dan!d@localhost  PRIVMSG  #chan  :Hey  :there "
    assert parse(line) == Message(
        "PRIVMSG", ("#chan", "Hey  :there "), "dan!d@localhost", {"id": "123AB", "rose": "", "netsplit": "tur ty;\\b"}
    )


def test_the_last_of_two_tags_counts() -> None:
    assert parse(b"@a=1;a=2 PING x").tags == {"a": "2"}


def test_more_than_fifteen_parameters_are_read() -> None:
    assert len(parse(b"005 " + b"x " * 20).params) == 20


def test_what_is_no_utf8_is_latin_1() -> None:
    assert parse(b"PRIVMSG #a :caf\xe9").text == "café"
    assert parse("PRIVMSG #a :café".encode()).text == "café"


def test_who_sent_it() -> None:
    message = parse(b":dan!~d@Host.example PRIVMSG #a :x")
    assert (message.nick, message.host, message.target, message.text) == ("dan", "Host.example", "#a", "x")
    server = parse(b":irc.example NOTICE * :x")
    assert (server.nick, server.host) == ("irc.example", "")
    assert (Message("PING").target, Message("PING").text) == ("", "")


@pytest.mark.parametrize(
    ("mapping", "folded"),
    [
        ("ascii", "ab[]\\^ä"),
        ("rfc1459", "ab{}|~ä"),
        ("rfc1459-strict", "ab{}|^ä"),
        ("rfc7613", "ab[]\\^ä"),
        (None, "ab{}|~ä"),
    ],
)
def test_names_are_folded_as_the_server_does(mapping: str | None, folded: str) -> None:
    support = Support()
    if mapping is not None:
        support.learn([f"CASEMAPPING={mapping}"])
    text = "aB[]\\^Ä" if mapping == "rfc7613" else "aB[]\\^ä"
    assert support.fold(text) == folded


@given(st.text(), st.sampled_from(["ascii", "rfc1459", "rfc1459-strict", "rfc7613"]))
def test_folding_keeps_the_length_and_folds_once(text: str, mapping: str) -> None:
    support = Support()
    support.learn([f"CASEMAPPING={mapping}"])
    assert len(support.fold(text)) == len(text)
    assert support.fold(support.fold(text)) == support.fold(text)


def test_what_the_server_supports() -> None:
    support = Support()
    assert (support.number("NICKLEN", 9), support.is_channel("#a"), support.is_channel("&a")) == (9, True, True)
    support.learn(["NICKLEN=30", "CHANTYPES=#", "MONITOR", "NETWORK=A\\x20B", "LINELEN=many"])
    assert (support.number("NICKLEN", 9), support.is_channel("&a"), "MONITOR" in support) == (30, False, True)
    assert (support.get("NETWORK"), support.number("LINELEN", 512)) == ("A B", 512)
    support.learn(["-MONITOR"])
    assert "MONITOR" not in support
