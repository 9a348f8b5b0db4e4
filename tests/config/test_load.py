"""Whole files in, a configuration or every one of their problems out."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.config import load_config, secrets_of
from gatewayd.config.problems import MAX_PROBLEMS
from gatewayd.model.config import TokenConfig
from gatewayd.model.errors import ConfigError
from gatewayd.model.secret import Secret
from tests.config.files import ACCOUNT, ENV, GROUP, TOKEN, load, problem, problems
from tests.config.plugins import Fussy, Nothing, TelegramSettings, registry
from tests.examples import examples


def test_without_a_file_there_is_the_embedded_default() -> None:
    config = load_config(None, registry(), {})
    assert config.source is None
    assert [(agent.agent_id, agent.frame.core) for agent in config.agents] == [("assistant", "echo")]
    assert [(account.channel, account.account) for account in config.accounts] == [("webchat", "main")]
    assert config.default_agent == "assistant"
    assert config.warnings == ()


def test_a_whole_file(file: Path) -> None:
    config = load(
        file,
        f"""
        [gateway]
        bind = "[::1]:0"
        public_url = "https://bots.example.org/"
        drain_seconds = 5
        [sessions]
        identity_links = {{ alice = ["telegram:1234", "webchat:alice"] }}
        [auth.tokens.ops]
        token = {{ env = "OPS_TOKEN" }}
        scopes = ["read", "admin"]
        [agents.assistant]
        [agents.other]
        core = "fussy"
        number = 7
        default = true
        {ACCOUNT}
        mode = "webhook"
        dm_policy = "open"
        groups = ["-100123", "*"]
        [channels.telegram.accounts.ops]
        enabled = false
        token = {{ env = "OPS_TOKEN" }}
        [[bindings]]
        match = {{ channel = "telegram", account = "*", peer = "group:-100123" }}
        agent = "other"
        """,
    )
    assert config.gateway.public_url == "https://bots.example.org"
    assert config.gateway.drain_seconds == 5.0
    assert config.sessions.identity_links == {"alice": ("telegram:1234", "webchat:alice")}
    assert config.auth.tokens == {"ops": TokenConfig(token=Secret(ENV["OPS_TOKEN"]), scopes=("read", "admin"))}
    assert [agent.settings for agent in config.agents] == [Nothing(), Fussy(number=7)]
    assert config.default_agent == "other"
    main, ops = config.accounts
    assert main.settings == TelegramSettings(token=Secret(TOKEN), mode="webhook")
    assert (main.frame.dm_policy, main.frame.groups, main.frame.enabled) == ("open", ("-100123", "*"), True)
    assert (ops.account, ops.frame.enabled) == ("ops", False)
    assert config.bindings[0].match.peer == "group:-100123"
    assert config.source == str(file)
    assert [warning.partition(": ")[2][:50] for warning in config.warnings] == [
        "[channels.telegram.accounts.main].groups: everybody in"[:50]
    ]
    assert set(secrets_of(config)) == {Secret(TOKEN), Secret(ENV["OPS_TOKEN"])}
    assert TOKEN not in repr(config)


def test_a_file_without_agents_gets_the_echo_agent(file: Path) -> None:
    assert [agent.agent_id for agent in load(file, ACCOUNT).agents] == ["assistant"]


def test_an_empty_agents_table_is_not_the_same_as_none(file: Path) -> None:
    found = problem(file, f"[agents]\n{ACCOUNT}")
    assert (found.key, found.what, found.line) == ("[agents]", "has no agent", 1)


def test_a_file_without_accounts_is_valid_and_warned_of(file: Path) -> None:
    assert load(file, "").warnings == (f"{file}: no account is configured: nobody can write to an agent",)


def test_all_problems_come_at_once_in_the_order_of_the_file(file: Path) -> None:
    found = problems(
        file,
        """
[gatewy]
[gateway]
bind = "127.0.0.1"
log_level = "inof"
max_body_bytes = 1
[auth.tokens.ops]
role = "operater"
[agents.assistant]
cor = "echo"
[agents.two]
core = "fusy"
default = "yes"
[channels.telegram.accounts.main]
tokn = { env = "TELEGRAM_TOKEN" }
[channels.telegarm.accounts.main]
dm_policy = "everybody"
[[bindings]]
agent = "asistant"
match = { channel = "telegram", peer = "grop:1" }
[[bindings]]
match = {}
""",
    )
    assert [(one.line, one.key, one.nearest) for one in found] == [
        (2, "[gatewy]", "gateway"),
        (4, "[gateway].bind", None),
        (5, "[gateway].log_level", "info"),
        (6, "[gateway].max_body_bytes", None),
        (7, "[auth.tokens.ops]", None),
        (8, "[auth.tokens.ops].role", "operator"),
        (10, "[agents.assistant].cor", "core"),
        (12, "[agents.two].core", "fussy"),
        (13, "[agents.two].default", None),
        (14, "[channels.telegram.accounts.main]", None),
        (15, "[channels.telegram.accounts.main].tokn", "token"),
        (16, "[channels.telegarm]", "telegram"),
        (17, "[channels.telegarm.accounts.main].dm_policy", None),
        (19, "bindings[0].agent", "assistant"),
        (20, "bindings[0].match.peer", "group"),
        (21, "bindings[1]", None),
    ]
    by_key = {one.key: one for one in found}
    assert by_key["[gateway].log_level"].found == "the text 'inof'"
    assert by_key["[gateway].log_level"].allowed == '"debug", "info", "warning" or "error"'
    assert by_key["[gateway].max_body_bytes"].allowed == "a whole number from 1024 to 67108864"
    assert by_key["[agents.two].default"].allowed == "true or false"
    assert "token, mode, timeout_seconds, spare_token" in str(by_key["[channels.telegram.accounts.main].tokn"].allowed)
    assert by_key["[channels.telegram.accounts.main]"].what == 'the key "token" is missing'
    assert str(by_key["[gatewy]"]).startswith(f"{file}:2: [gatewy]: unknown key; allowed: gateway, sessions, ")
    assert str(by_key["[gatewy]"]).endswith('did you mean "gateway"?')


def test_a_file_with_endless_problems_is_told_with_a_bound(file: Path) -> None:
    found = problems(file, "".join(f"key{number} = 1\n" for number in range(1000)))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1].what == f"and {1000 - MAX_PROBLEMS} more problems"


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        ("gateway = 3", "gateway", "must be a table"),
        ("agents = []", "agents", "must be a table"),
        ("agents = { a = 3 }", "agents.a", "must be a table"),
        ("channels = 3", "channels", "must be a table"),
        ("channels = { telegram = 3 }", "channels.telegram", "must be a table"),
        ("[channels.telegram]", "[channels.telegram]", "has no account"),
        ("[channels.telegram]\naccounts = 3", "[channels.telegram].accounts", "must be a table"),
        ("[channels.telegram.accounts]\nmain = 3", "[channels.telegram.accounts].main", "must be a table"),
        ("bindings = 3", "bindings", "must be an array of tables"),
        ("bindings = [3]", "bindings[0]", "must be a table"),
        ("[agents.Main]", "[agents.Main]", "is not a name that is allowed here"),
        ('[agents."a\\n"]', "[agents.'a\\n']", "is not a name that is allowed here"),
        ("[agents.a]\ncore = 3", "[agents.a].core", "wrong value"),
        ("[gateway]\ndrain_seconds = nan", "[gateway].drain_seconds", "wrong value"),
        ("[gateway]\ndrain_seconds = 2026-01-01", "[gateway].drain_seconds", "wrong value"),
        ("[limits]\nmailbox = true", "[limits].mailbox", "wrong value"),
        ("[limits]\nmailbox = 10_000_001", "[limits].mailbox", "wrong value"),
        ('[gateway]\nallowed_hosts = "x"', "[gateway].allowed_hosts", "wrong value"),
        ('[gateway]\nallowed_hosts = ["x", "http://y"]', "[gateway].allowed_hosts[1]", "is not a host name"),
        ('[gateway]\ntrusted_proxies = ["unix", "proxy"]', "[gateway].trusted_proxies[1]", "is not an address or a network"),
        ('[gateway]\ntrusted_proxies = ["10.0.0.1/8"]', "[gateway].trusted_proxies[0]", "has host bits set"),
        ('[gateway]\ntrusted_proxies = ["::/0"]', "[gateway].trusted_proxies[0]", "trusts everybody"),
        ('[gateway]\nstate_dir = "state"', "[gateway].state_dir", "must be an absolute path"),
        ('[sessions]\nidentity_links = { a = ["1234"] }', "[sessions].identity_links.a[0]", "is not CHANNEL:ID"),
        (
            '[sessions.identity_links]\na = ["telegram:1"]\nb = ["telegram:1"]',
            "[sessions.identity_links].b[0]",
            "already belongs to the text 'a'",
        ),
        ("[agents.a]\ndefault = true\n[agents.b]\ndefault = true", "[agents.b].default", "only one agent can be the default"),
        ("[channels.webchat.accounts.a]\n[channels.webchat.accounts.b]", "[channels.webchat.accounts]", "one account only"),
        (ACCOUNT + 'allow_from = [""]', "[channels.telegram.accounts.main].allow_from[0]", "is not an id"),
        (ACCOUNT + 'groups = ["-1", " -2"]', "[channels.telegram.accounts.main].groups[1]", "is not an id"),
        (ACCOUNT + 'operators = ["*"]', "[channels.telegram.accounts.main].operators[0]", 'cannot be "*"'),
        (ACCOUNT + "groups = 7", "[channels.telegram.accounts.main].groups", "wrong value"),
        (GROUP + 'commands = [" 2"]', "[channels.telegram.accounts.main.groups.-100123].commands[0]", "is not an id"),
        (GROUP + 'allow_from = [""]', "[channels.telegram.accounts.main.groups.-100123].allow_from[0]", "is not an id"),
        (GROUP + 'agent = "x"', "[channels.telegram.accounts.main.groups.-100123].agent", "no such agent"),
        (GROUP + 'allowfrom = ["1"]', "[channels.telegram.accounts.main.groups.-100123].allowfrom", "unknown key"),
        (ACCOUNT + 'mode = "webhook"', "[channels.telegram.accounts.main]", 'mode "webhook" needs gateway.public_url'),
        ("[channels.greedy.accounts.a]", "[channels.greedy.accounts.a]", "use keys of gatewayd: enabled"),
        ("[channels.fussy.accounts.a]\nnumber = 13", "[channels.fussy.accounts.a]", "thirteen is refused here"),
        ('[[bindings]]\nagent = "assistant"\nmatch = {}', "bindings[0].match", "matches everything"),
        ('[[bindings]]\nagent = "assistant"\nmatch = { account = "*" }', "bindings[0].match", "matches everything"),
        ('[[bindings]]\nagent = "assistant"\nmatch = { channel = "irc" }', "bindings[0].match.channel", "no such channel"),
        ('[[bindings]]\nagent = "assistant"\nmatch = { account = "x" }', "bindings[0].match.account", "no such account"),
        ('[[bindings]]\nagent = "assistant"\nmatch = { peer = "dm:" }', "bindings[0].match.peer", "is not a peer"),
        ('[[bindings]]\nagent = "assistant"\nmatch = { parent_peer = "7" }', "bindings[0].match.parent_peer", "is not a peer"),
    ],
)
def test_one_problem(file: Path, text: str, key: str, what: str) -> None:
    found = problem(file, text)
    assert what in found.what
    assert found.key == key
    assert found.line is not None


def test_a_thousand_accounts(file: Path) -> None:
    text = "".join(
        f'[channels.telegram.accounts.bot{number}]\ntoken = {{ env = "TOKEN_{number}" }}\nallow_from = ["1", "2"]\n'
        for number in range(1000)
    )
    env = {f"TOKEN_{number}": f"{number}:token-of-a-bot" for number in range(1000)}
    assert len(load(file, text, env).accounts) == 1000
    assert problem(file, text + "oops = 1", env).line == 3001


SECRETS = st.text(
    alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_-+/=", min_size=8, max_size=40
).filter(lambda text: any(character.isdigit() for character in text) and any(character.isupper() for character in text))
SOURCES = ["env", "file", "credential"]
HOW_WRONG = [
    'token = "{secret}"',
    'token = ["{secret}"]',
    'token = {{ env = "{secret}" }}',
    'token = {{ file = "{secret}" }}',
    'token = {{ credential = "{secret}" }}',
    'token = {{ value = "{secret}" }}',
    'tokn = "{secret}"',
    'token = {{ env = "GOOD" }}\nmode = "{secret}"',
    'token = {{ env = "GOOD" }}\nallow_from = ["ok", " {secret}"]',
    'token = {{ env = "GOOD" }}\ntimeout_seconds = "x{secret}y"',
    'token = {{ env = "SHORT" }}',
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(200), deadline=None)
@given(secret=SECRETS, wrong=st.lists(st.sampled_from(HOW_WRONG), min_size=1, max_size=6), noise=st.text(max_size=30))
def test_whatever_is_wrong_no_error_tells_a_secret(file: Path, secret: str, wrong: list[str], noise: str) -> None:
    """The secret is at the same time a good one somewhere, pasted into wrong places, and part of wrong values."""
    lines = [
        f'[channels.telegram.accounts.a{number}]\n{template.format(secret=secret)}\nspare_token = {{ env = "GOOD" }}\n'
        for number, template in enumerate(wrong)
    ]
    noisy = "".join(character for character in noise if character.isalnum())
    file.write_text("\n".join(lines) + f'\n["{noisy}"]\nx = 1\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, registry(), {"GOOD": secret + "\n", "SHORT": "ab", "CREDENTIALS_DIRECTORY": str(file.parent)})
    assert secret not in str(caught.value)
    assert [one for one in caught.value.problems if secret in repr(one)] == []
