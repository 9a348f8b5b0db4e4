"""The tokens of operators and connectors, and the credentials of accounts."""

from pathlib import Path

import pytest

from tests.config.files import ACCOUNT, ENV, TOKEN, load, problem, problems


def test_tokens_are_long_enough_and_different(file: Path) -> None:
    text = "".join(
        f'[auth.tokens.{name}]\ntoken = {{ env = "{variable}" }}\n' for name, variable in (("a", "A"), ("b", "B"), ("c", "B"))
    )
    short, same = problems(file, text, {"A": "fifteen-letters", "B": "sixteen-letters!"})
    assert (short.key, short.what) == ("[auth.tokens.a].token", "is shorter than 16 characters")
    assert (same.key, same.what) == ("[auth.tokens.c].token", 'is the same as that of "b": each token needs its own')


@pytest.mark.parametrize("secret", ["characters", "shorter", "short", "than 16 ch", "is", "secret", "sixteen", "pecial"])
def test_a_token_that_is_too_short_is_not_told_by_what_is_left_out(file: Path, secret: str) -> None:
    found = problem(file, '[auth.tokens.a]\ntoken = { env = "A" }\n', {"A": secret})
    assert found.key == "[auth.tokens.a].token"
    assert found.what in ("is shorter than 16 characters", "the secret is shorter than 8 characters")
    assert found.found is None


@pytest.mark.parametrize(
    ("role", "scopes", "refused", "possible"),
    [
        ("connector", ["read", "admin"], [("[auth.tokens.ops].scopes[1]", "admin")], "read, write"),
        ("node", ["write", "read"], [("[auth.tokens.ops].scopes[0]", "write")], "read"),
        ("connector", ["read", "write"], [], ""),
        ("node", ["read"], [], ""),
        ("operator", ["read", "write", "approvals", "pairing", "admin"], [], ""),
    ],
)
def test_a_scope_that_the_role_cannot_have(
    file: Path, role: str, scopes: list[str], refused: list[tuple[str, str]], possible: str
) -> None:
    text = f'{ACCOUNT}[auth.tokens.ops]\ntoken = {{ env = "OPS_TOKEN" }}\nrole = "{role}"\nscopes = {scopes}\n'
    if not refused:
        assert load(file, text).auth.tokens["ops"].scopes == tuple(scopes)
        return
    assert [(one.key, one.what, one.found, one.allowed) for one in problems(file, text)] == [
        (key, f'the role "{role}" cannot have this scope', f"the text '{scope}'", possible) for key, scope in refused
    ]


@pytest.mark.parametrize(
    ("rest", "warned"),
    [
        ('role = "connector"\nscopes = ["write"]\n', True),
        ('role = "connector"\nscopes = ["write"]\naccounts = ["telegram/main"]\n', False),
        ('role = "connector"\nscopes = ["write"]\naccounts = []\n', False),
        ('role = "connector"\nscopes = ["read"]\n', False),
        ('scopes = ["write"]\n', False),
    ],
)
def test_a_connector_of_all_accounts_is_warned_of(file: Path, rest: str, warned: bool) -> None:
    config = load(file, f'{ACCOUNT}[auth.tokens.ops]\ntoken = {{ env = "OPS_TOKEN" }}\n{rest}')
    assert [one for one in config.warnings if "may bring messages for every account" in one] == list(config.warnings)
    assert bool(config.warnings) is warned


@pytest.mark.parametrize("name", ["telegram/mian", "telegram", "main", "", "telegram/*"])
def test_a_token_names_accounts_that_there_are(file: Path, name: str) -> None:
    text = f'{ACCOUNT}[auth.tokens.ops]\ntoken = {{ env = "OPS_TOKEN" }}\naccounts = ["telegram/main", "{name}"]\n'
    found = problem(file, text)
    assert (found.key, found.what) == ("[auth.tokens.ops].accounts[1]", "no such account")
    assert found.allowed == "telegram/main"


SECOND = ACCOUNT.replace("main", "second")


@pytest.mark.parametrize("more", ["", 'spare_token = { env = "OPS_TOKEN" }'])
def test_two_accounts_cannot_be_the_same_bot(file: Path, more: str) -> None:
    found = problem(file, ACCOUNT + SECOND + more)
    assert found.key == "[channels.telegram.accounts.second].token"
    assert found.what == "is the same as that of telegram/main: each account needs its own"
    assert found.line == 4
    assert TOKEN not in str(found)


def test_what_does_not_run_is_fine(file: Path) -> None:
    assert len(load(file, ACCOUNT + SECOND + "enabled = false").accounts) == 2


def test_two_accounts_may_share_what_they_need_not_have(file: Path) -> None:
    spare = 'spare_token = { env = "OPS_TOKEN" }\n'
    other = SECOND.replace("TELEGRAM_TOKEN", "OTHER")
    assert len(load(file, ACCOUNT + spare + other + spare, ENV | {"OTHER": "another-token"}).accounts) == 2
