"""What looks as if a shell should fill it in is told, and a $ that is meant is not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config import load_config
from gatewayd.config.problems import Problems
from gatewayd.config.source import Source
from gatewayd.config.unexpanded import check_unexpanded
from gatewayd.model.errors import ConfigError
from gatewayd.plugins import Registry

MODEL = '[agents.a]\ncore = "chat_completions"\nmodel = "m"\n'
SERVER = '[agents.a]\ncore = "opencode"\n'
ACP = '[agents.a]\ncore = "acp"\n'


def warnings(folder: Path, text: str) -> list[str]:
    file = folder / "gatewayd.toml"
    file.write_text(text)
    return [one for one in load_config(file, Registry.installed(), {}).warnings if "has a variable" in one]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (MODEL + 'url = "http://${HOST}/v1"', "[agents.a].url"),
        (MODEL + 'url = "http://$HOST/v1"', "[agents.a].url"),
        (MODEL + 'url = "http://h/v1/${MODEL:-x}"', "[agents.a].url"),
        (MODEL.replace('"m"', '"$MODEL"') + 'url = "http://h/v1"', "[agents.a].model"),
        (SERVER + 'command = ["opencode", "--log=$HOME/x"]', "[agents.a].command[1]"),
        (SERVER + 'command = ["opencode"]\nenvironment = { PATH = "/opt/bin:$PATH" }', "[agents.a].environment.PATH"),
        ('[sessions]\nidentity_links = { me = ["webchat:$USER"] }', "[sessions].identity_links.me[0]"),
    ],
)
def test_the_key_and_the_cure_are_told(tmp_path: Path, text: str, key: str) -> None:
    [one] = warnings(tmp_path, text)
    assert f" {key}: has a variable" in one
    assert "HOST" not in one


@pytest.mark.parametrize(
    "text",
    [
        MODEL + 'url = "http://h/v1"\nsystem_prompt = "Prices are in $USD, $5 each; write ${NAME} for the name."',
        SERVER + 'command = ["sh", "-c", "exec opencode serve --port $PORT"]',
        SERVER + 'command = ["docker", "run", "image", "/bin/bash", "-c", "cd $HOME"]',
        '[agents.a]\n[[agents.a.approvals.rules]]\naction = "deny"\ntool = "bash"\ninput = { command = "*$HOME*" }',
        MODEL + 'url = "http://h/v1/$1/$"',
        MODEL + 'url = "http://h/v1" # for ${HOST}',
    ],
)
def test_a_dollar_that_is_meant_is_no_fault(tmp_path: Path, text: str) -> None:
    assert warnings(tmp_path, text) == []


def test_where_the_key_is_refused_this_is_said_with_it(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.toml"
    file.write_text(
        '[gateway]\nbind = "${HOST}:port"\npublic_url = "https://chat.example"\nallowed_hosts = ["a.example"]\n'
        '[auth.tokens.ops]\ntoken = { file = "$HOME/token" }\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_config(file, Registry.installed(), {})
    found = [(problem.key, problem.line) for problem in caught.value.problems if "has a variable" in problem.what]
    assert found == [("[gateway].bind", 2), ("[auth.tokens.ops].token", 6)]
    file.write_text(SERVER + 'url = "${SERVER}"')
    with pytest.raises(ConfigError) as caught:
        load_config(file, Registry.installed(), {})
    assert [problem.key for problem in caught.value.problems] == ["[agents.a]", "[agents.a].url"]


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10))
def test_any_table_can_be_looked_at_and_no_text_is_shown(table: object) -> None:
    problems = Problems(Source(b"", None))
    check_unexpanded(problems, {"canary": table})
    assert all("has a variable" in one for one in problems.warnings)
