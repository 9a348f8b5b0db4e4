"""The settings of plug-ins: every shape is decoded strictly, and a plug-in that cannot be used parks its own table."""

from pathlib import Path

import pytest

from gatewayd.config import secrets_of
from gatewayd.model.config import BrokenPlugin
from gatewayd.model.secret import Secret
from tests.config.files import ACCOUNT, ENV, TOKEN, load, problem
from tests.config.plugins import OddSettings, Part

ODD = "[channels.odd.accounts.a]\n"


def test_every_shape_of_settings_is_decoded(file: Path) -> None:
    text = ODD + (
        'part = { size = 1, secret = { env = "OPS_TOKEN" } }\nparts = [{ size = 2 }]\nby-name = { x = { size = 3 } }\n'
        'either-way = "text"\npair = [4, "five"]\nsecrets = { one = { env = "TELEGRAM_TOKEN" } }\nratio = 2\n'
    )
    (account,) = load(file, text).accounts
    assert account.settings == OddSettings(
        part=Part(size=1, secret=Secret(ENV["OPS_TOKEN"])),
        parts=(Part(size=2),),
        by_name={"x": Part(size=3)},
        either_way="text",
        pair=(4, "five"),
        secrets={"one": Secret(TOKEN)},
        ratio=2.0,
    )
    assert set(secrets_of(load(file, text))) == {Secret(TOKEN), Secret(ENV["OPS_TOKEN"])}


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ("part = { size = 11 }", "[channels.odd.accounts.a].part.size", "a whole number from 1 to 10"),
        ("part = 3", "[channels.odd.accounts.a].part", "the keys size, secret"),
        ("parts = [{ size = 1 }, { size = 0 }]", "[channels.odd.accounts.a].parts[1].size", "a whole number from 1 to 10"),
        ("parts = [{ size = 1 }, { size = 1 }, { size = 1 }]", "[channels.odd.accounts.a].parts", "at most 2"),
        ("parts = 3", "[channels.odd.accounts.a].parts", "an array; each entry: a table with the keys size, secret"),
        ("by-name = { x = { siz = 3, size = 3 } }", "[channels.odd.accounts.a].by-name.x.siz", "size, secret"),
        ("by-name = 3", "[channels.odd.accounts.a].by-name", "a table; each value: a table with the keys size, secret"),
        ("either-way = 1.5", "[channels.odd.accounts.a].either-way", "a whole number or a text"),
        ("pair = [1]", "[channels.odd.accounts.a].pair", None),
        ("ratio = inf", "[channels.odd.accounts.a].ratio", "a number"),
        ("by_name = {}", "[channels.odd.accounts.a].by_name", None),
    ],
)
def test_every_shape_of_settings_is_strict(file: Path, text: str, key: str, allowed: str | None) -> None:
    found = problem(file, ODD + text)
    assert found.key == key
    assert found.line == 2
    assert allowed in (None, found.allowed)


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("[channels.unusable.accounts.a]", "cannot be decoded: NameError: name 'NoSuchType'"),
        ("[channels.missing.accounts.a]", "'tests.config.plugins:NotThere' cannot be imported"),
        ("[channels.twice.accounts.a]", "is offered more than once; uninstall all but one"),
        ("[channels.fussy.accounts.a]\nnumber = 14", "Fussy cannot be made: KeyError: 'a bug'"),
        ("[channels.fussy.accounts.a]\nnumber = 15", "the check of the plug-in failed: RuntimeError: another bug"),
        ('[agents.b]\ncore = "fussy"\nnumber = 15', "the check of the plug-in failed: RuntimeError: another bug"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_parked_and_all_else_is_there(file: Path, table: str, what: str) -> None:
    config = load(file, f"[agents.assistant]\ndefault = true\n{ACCOUNT}{table}\n")
    [told] = config.broken
    assert what in told
    assert str(file) in told
    settings = [one.settings for one in config.accounts] + [one.settings for one in config.agents]
    assert [what in broken.reason for broken in settings if isinstance(broken, BrokenPlugin)] == [True]
    assert [account.account for account in config.accounts if account.channel == "telegram"] == ["main"]


def test_what_is_wrong_with_our_own_keys_of_a_broken_plugins_account_is_told_all_the_same(file: Path) -> None:
    found = problem(file, '[channels.missing.accounts.a]\ndm_policy = "everybody"\nits_own = 1\n')
    assert found.key == "[channels.missing.accounts.a].dm_policy"
