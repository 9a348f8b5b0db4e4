"""docs/channels/discord.md says what the driver does: its permissions, its errors, its log, and its keys."""

import re
from pathlib import Path

import pytest

from gatewayd.channels.discord.errors import CODES
from gatewayd.channels.discord.receiving.gateway import FINAL
from gatewayd.channels.discord.settings import DiscordSettings
from gatewayd.model.config import GatewaySection
from gatewayd.model.secret import Secret

ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "gatewayd/channels/discord"
PAGE = (ROOT / "docs/channels/discord.md").read_text()
BITS = {
    "VIEW_CHANNELS": 10,
    "SEND_MESSAGES": 11,
    "EMBED_LINKS": 14,
    "ATTACH_FILES": 15,
    "READ_MESSAGE_HISTORY": 16,
    "SEND_MESSAGES_IN_THREADS": 38,
}
"""Discord, "Permissions", "Bitwise Permission Flags"."""
BECOMES = {
    "the account is parked": {"operator"},
    "dead": {"rejected"},
    "sent later": {"again"},
}


def test_the_number_of_the_invitation_is_the_permissions_that_are_named() -> None:
    named = re.search(r"is these permissions: ([^.]*)\.", PAGE)
    assert named is not None
    names = {" ".join(name.split()).upper().replace(" ", "_") for name in named[1].split(",")}
    wanted = sum(1 << BITS[name] for name in names)
    assert set(re.findall(r"permissions=(\d+)|The number (\d+)", PAGE)) == {(str(wanted), ""), ("", str(wanted))}


@pytest.mark.parametrize(("code", "becomes"), re.findall(r"^\| (\d{4,6}) \| ([^|]*) \|", PAGE, re.MULTILINE))
def test_what_becomes_of_an_error(code: str, becomes: str) -> None:
    kinds = BECOMES[becomes]
    assert ("operator" if int(code) in FINAL else CODES[int(code)][0]) in kinds


def test_the_names_of_the_log() -> None:
    sources = "\n".join(path.read_text() for path in DRIVER.rglob("*.py"))
    assert set(re.findall(r"`(discord_\w+)`", PAGE)) == set(re.findall(r'"(discord_(?!py)\w+)"', sources))


def test_the_keys_that_are_named_are_keys() -> None:
    keys = set(DiscordSettings.__struct_fields__)
    assert {"token", "interactions", "public_key", "message_content", "thread_replies", "commands"} <= keys
    for key in ("backfill_minutes", "backfill_calls"):
        default = getattr(DiscordSettings(Secret("x")), key)
        assert f"`{key}` ({default})" in PAGE


def test_the_words_of_check_config() -> None:
    (said,) = re.findall(r"^\[channels\.discord\.accounts\.main\]: (.*)$", PAGE, re.MULTILINE)
    assert DiscordSettings(Secret("a" * 32)).problems(GatewaySection()) == [said]
