"""Keys that had another name before."""

from pathlib import Path

import msgspec
import pytest

from gatewayd.agents.opencode.settings import OpencodeSettings
from gatewayd.config import load_config
from gatewayd.config.renamed import RENAMED
from gatewayd.model.config import LimitsSection
from gatewayd.model.errors import ConfigError
from gatewayd.plugins import Registry

KEYS = {field.name for kind in (LimitsSection, OpencodeSettings) for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize(
    ("text", "key", "new"),
    [
        ("[limits]\nsender_waiting = 7\n", "[limits].sender_waiting", "sender_backlog"),
        ('[agents.coder]\ncore = "opencode"\nunasked = []\n', "[agents.coder].unasked", "auto_approve"),
    ],
)
def test_an_old_key_is_an_error_that_names_the_new_one(tmp_path: Path, text: str, key: str, new: str) -> None:
    file = tmp_path / "gatewayd.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, Registry.installed(), {})
    found = [(problem.key, problem.what) for problem in caught.value.problems]
    assert (key, f'has another name now: write "{new}"') in found


def test_elsewhere_an_old_key_is_unknown_as_any_other(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.toml"
    file.write_text("[gateway]\nsender_waiting = 7\n")
    with pytest.raises(ConfigError, match=r"\[gateway\].sender_waiting: unknown key"):
        load_config(file, Registry.installed(), {})


def test_each_new_name_is_a_key_and_no_old_one_is() -> None:
    assert set(RENAMED.values()) <= KEYS
    assert not KEYS & set(RENAMED)
