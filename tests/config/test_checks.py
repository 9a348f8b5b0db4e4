"""What must hold between keys: each thing that is wrong is one problem, and what is probably not meant a warning."""

import re
from pathlib import Path

import pytest

from tests.config.files import ACCOUNT, GROUP, load, problem, problems


def test_keys_of_an_account_one_level_too_high_are_told_where_they_belong(file: Path) -> None:
    found = problems(file, '[channels.telegram]\nmode = "poll"\n')
    assert found[1].key == "[channels.telegram].mode"
    assert "[channels.telegram.accounts.NAME]" in str(found[1].allowed)


def test_an_account_named_in_a_binding_must_be_of_that_channel(file: Path) -> None:
    text = (
        ACCOUNT
        + '[channels.fussy.accounts.ops]\n[[bindings]]\nagent = "assistant"\nmatch = { channel = "telegram", account = "ops" }'
    )
    assert problem(file, text).allowed == 'main, "*" for any'


def test_a_broken_account_is_not_called_unknown_by_a_binding(file: Path) -> None:
    text = "[channels.telegram.accounts.main]\nmode = 3\n[agents.one]\ncor = 1\n"
    text += '[[bindings]]\nagent = "one"\nmatch = { account = "main" }\n'
    assert [one.key for one in problems(file, text)] == [
        "[channels.telegram.accounts.main]",
        "[channels.telegram.accounts.main].mode",
        "[agents.one].cor",
    ]


def test_what_depends_on_a_broken_section_is_not_reported_beside_it(file: Path) -> None:
    found = problem(file, f'[gateway]\npublic_url = "http://bots.example.org"\n{ACCOUNT}mode = "webhook"\n')
    assert found.key == "[gateway].public_url"


def test_warnings_for_what_is_probably_not_meant(file: Path) -> None:
    text = (
        '[sessions]\nidentity_links = { a = ["slack:U1"] }\n'
        + ACCOUNT
        + 'dm_policy = "allowlist"\n[[bindings]]\nagent = "assistant"\nmatch = { channel = "webchat" }\n'
    )
    warnings = load(file, text).warnings
    assert [re.sub(r"^.*?:(\d+): ", r"\1 ", warning) for warning in warnings] == [
        "5 [channels.telegram.accounts.main].dm_policy: allowlist with an empty allow_from: nobody can write directly",
        '2 [sessions].identity_links.a[0]: no channel "slack" is installed',
        '8 bindings[0].match.channel: no account of the channel "webchat" is configured',
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example",
        "https://a.example:8443/",
        "https://192.0.2.1",
        "http://localhost:80",
        "http://127.3.2.1",
        "http://[::1]:8",
    ],
)
def test_public_urls_that_can_be_used(file: Path, url: str) -> None:
    assert load(file, f'[gateway]\npublic_url = "{url}"').gateway.public_url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example",
        "a.example",
        "https://",
        "https:///path",
        "ftp://a.example",
        "https://a.example/path",
        "https://a.example?x",
        "https://a.example?",
        "https://a.example#x",
        "https://user@a.example",
        "https://user:pass@a.example",
        "https://a.example:99999",
        "https://a b",
        "https://[::1",
        "https://-a.example",
        "",
    ],
)
def test_public_urls_that_cannot(file: Path, url: str) -> None:
    assert problem(file, f'[gateway]\npublic_url = "{url}"').key == "[gateway].public_url"


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "0.0.0.0:65535", "[::]:1", "localhost:18790", "my-host.example:80"])
def test_addresses_that_can_be_bound(file: Path, bind: str) -> None:
    assert load(file, f'[gateway]\nbind = "{bind}"').gateway.bind == bind


@pytest.mark.parametrize(
    "bind", ["127.0.0.1", ":80", "::1:80", "[::1]", "h:65536", "h:-1", "h:99999999999", "h:٣", "h:", "http://h:80", "", "a b:80"]
)
def test_addresses_that_cannot(file: Path, bind: str) -> None:
    assert problem(file, f'[gateway]\nbind = "{bind}"').key == "[gateway].bind"


@pytest.mark.parametrize("again", ['channel = "telegram"', 'account = "*", channel = "telegram"'])
def test_a_binding_that_is_never_used(file: Path, again: str) -> None:
    bindings = "".join(
        f'[[bindings]]\nmatch = {{ {match} }}\nagent = "assistant"\n'
        for match in ('channel = "telegram"', 'channel = "telegram", peer = "dm:1"', again)
    )
    found = problem(file, ACCOUNT + "[agents.assistant]\n" + bindings)
    assert (found.key, found.what) == ("bindings[2].match", "is the same as that of bindings[0], which always wins")


@pytest.mark.parametrize("field", ["allow_from", "groups"])
@pytest.mark.parametrize("wrong", ["@alice", "alice", "4711 ", "t.me/x", "-", "1e3"])
def test_an_id_that_is_none_of_the_channel(file: Path, field: str, wrong: str) -> None:
    found = problem(file, f'{ACCOUNT}{field} = ["*", "-1001234567890", "{wrong}"]')
    assert found.key == f"[channels.telegram.accounts.main].{field}[2]"
    assert found.found == f"the text {wrong!r}"
    if wrong.strip() == wrong:
        form = "a number below zero" if field == "groups" else "a number"
        assert (found.what, found.allowed) == ("is not an id of Telegram", f'{form}, or "*" for any')


def test_the_id_of_a_person_is_none_of_a_group(file: Path) -> None:
    assert problem(file, f'{ACCOUNT}groups = ["4711"]').allowed == 'a number below zero, or "*" for any'
    assert load(file, f'{ACCOUNT}allow_from = ["4711"]').accounts[0].frame.allow_from == ("4711",)


def test_a_channel_that_says_nothing_of_its_ids_takes_any(file: Path) -> None:
    config = load(file, '[channels.webchat.accounts.main]\nallow_from = ["@alice", "*"]')
    assert config.accounts[0].frame.allow_from == ("@alice", "*")


@pytest.mark.parametrize(
    ("text", "open_groups", "warning"),
    [
        (ACCOUNT + 'groups = ["-100123"]', ("-100123",), "everybody in a group of this list may talk to the agent"),
        (ACCOUNT + 'groups = ["-100123", "*"]', ("-100123", "*"), "everybody in a group of this list may talk to the agent"),
        (GROUP + 'commands = ["1"]', ("-100123",), "has no allow_from: everybody in the group may talk"),
        (GROUP + 'allow_from = ["*"]', ("-100123",), None),
        (GROUP + 'allow_from = ["1"]\ncommands = ["1"]\nrequire_mention = false\nagent = "assistant"', (), None),
        (GROUP + "allow_from = []", (), "is empty: nobody in the group can talk"),
        (GROUP + 'allow_from = []\ncommands = ["1"]', (), None),
        (ACCOUNT + 'group_policy = "disabled"\ngroups = ["-1"]', (), "has no effect while group_policy is disabled"),
        (ACCOUNT + 'group_policy = "open"', ("*",), None),
    ],
)
def test_groups_where_everybody_may_talk_are_a_warning(
    file: Path, text: str, open_groups: tuple[str, ...], warning: str | None
) -> None:
    config = load(file, text)
    assert config.accounts[0].frame.open_groups == open_groups
    assert len(config.warnings) == (warning is not None)
    assert warning is None or warning in config.warnings[0]


@pytest.mark.parametrize(
    "text",
    [
        ACCOUNT + 'groups = ["-100123"]\n[channels.telegram.accounts.main.groups."-100123"]\ncommands = ["1"]',
        GROUP.removeprefix(ACCOUNT) + ACCOUNT + 'groups = ["-100123"]',
        ACCOUNT + 'groups = ["-100123"]\ngroups."-100123".commands = ["1"]',
        ACCOUNT + 'groups."-100123".commands = ["1"]\ngroups = ["-100123"]',
    ],
)
def test_both_forms_of_groups_are_refused_with_the_cure(file: Path, text: str) -> None:
    found = problem(file, text)
    assert "give every group a table, and take the array out" in found.what
    assert found.line is not None


def test_another_key_that_is_there_twice_is_only_that(file: Path) -> None:
    assert "array" not in problem(file, ACCOUNT + "[agents.a]\n[agents.a]").what
