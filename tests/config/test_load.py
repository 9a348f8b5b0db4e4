"""Whole files in, a configuration or every one of their problems out."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.config import load_config, secrets_of
from gatewayd.config.problems import MAX_PROBLEMS
from gatewayd.model.config import BrokenPlugin, GatewayConfig, TokenConfig
from gatewayd.model.errors import ConfigError, ConfigProblem
from gatewayd.model.secret import Secret
from tests.config.plugins import Fussy, Nothing, OddSettings, Part, TelegramSettings, registry
from tests.examples import examples

TOKEN = "123456:AAE-canary"
ENV = {"TELEGRAM_TOKEN": TOKEN, "OPS_TOKEN": "ops-token-of-24-letters"}
ACCOUNT = '[channels.telegram.accounts.main]\ntoken = { env = "TELEGRAM_TOKEN" }\n'
GROUP = ACCOUNT + '[channels.telegram.accounts.main.groups."-100123"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gatewayd.toml"


def load(file: Path, text: str, env: Mapping[str, str] = ENV) -> GatewayConfig:
    file.write_text(text)
    return load_config(file, registry(), env)


def problems(file: Path, text: str, env: Mapping[str, str] = ENV) -> tuple[ConfigProblem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(file, text, env)
    assert [problem.file for problem in caught.value.problems] == [str(file)] * len(caught.value.problems)
    return caught.value.problems


def problem(file: Path, text: str, env: Mapping[str, str] = ENV) -> ConfigProblem:
    (only,) = problems(file, text, env)
    return only


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
        "[channels.telegram.accounts.main].groups: whoever i"[:50]
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
        ("[agents.Main]", "[agents.Main]", "is not a name that can stand here"),
        ('[agents."a\\n"]', "[agents.'a\\n']", "is not a name that can stand here"),
        ("[agents.a]\ncore = 3", "[agents.a].core", "wrong value"),
        ("[gateway]\ndrain_seconds = nan", "[gateway].drain_seconds", "wrong value"),
        ("[gateway]\ndrain_seconds = 2026-01-01", "[gateway].drain_seconds", "wrong value"),
        ("[limits]\nmailbox = true", "[limits].mailbox", "wrong value"),
        ("[limits]\nmailbox = 10_000_001", "[limits].mailbox", "wrong value"),
        ('[gateway]\nallowed_hosts = "x"', "[gateway].allowed_hosts", "wrong value"),
        ('[gateway]\nallowed_hosts = ["x", "http://y"]', "[gateway].allowed_hosts[1]", "is not a host name"),
        ('[gateway]\ntrusted_proxies = ["unix", "proxy"]', "[gateway].trusted_proxies[1]", "is not an address or a network"),
        ('[gateway]\ntrusted_proxies = ["10.0.0.1/8"]', "[gateway].trusted_proxies[0]", "has bits behind its length"),
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
        (ACCOUNT + 'groups = ["1", " 2"]', "[channels.telegram.accounts.main].groups[1]", "is not an id"),
        (ACCOUNT + 'operators = ["*"]', "[channels.telegram.accounts.main].operators[0]", 'cannot be "*"'),
        (ACCOUNT + "groups = 7", "[channels.telegram.accounts.main].groups", "wrong value"),
        (GROUP + 'commands = [" 2"]', "[channels.telegram.accounts.main.groups.-100123].commands[0]", "is not an id"),
        (GROUP + 'allow_from = [""]', "[channels.telegram.accounts.main.groups.-100123].allow_from[0]", "is not an id"),
        (GROUP + 'agent = "x"', "[channels.telegram.accounts.main.groups.-100123].agent", "no such agent"),
        (GROUP + 'allowfrom = ["1"]', "[channels.telegram.accounts.main.groups.-100123].allowfrom", "unknown key"),
        (ACCOUNT + 'mode = "webhook"', "[channels.telegram.accounts.main]", 'mode "webhook" needs gateway.public_url'),
        ("[channels.greedy.accounts.a]", "[channels.greedy.accounts.a]", "use keys that are ours: enabled"),
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


def test_two_accounts_cannot_be_the_same_bot(file: Path) -> None:
    found = problem(file, ACCOUNT + SECOND)
    assert found.key == "[channels.telegram.accounts.second].token"
    assert found.what == "is the same as that of telegram/main: each account needs its own"
    assert found.line == 4
    assert TOKEN not in str(found)


@pytest.mark.parametrize("more", ["enabled = false", 'spare_token = { env = "OPS_TOKEN" }'])
def test_what_is_not_the_same_bot_or_does_not_run_is_fine(file: Path, more: str) -> None:
    assert len(load(file, ACCOUNT + SECOND + more).accounts) == 2


@pytest.mark.parametrize("again", ['channel = "telegram"', 'account = "*", channel = "telegram"'])
def test_a_binding_that_is_never_used(file: Path, again: str) -> None:
    bindings = "".join(
        f'[[bindings]]\nmatch = {{ {match} }}\nagent = "assistant"\n'
        for match in ('channel = "telegram"', 'channel = "telegram", peer = "dm:1"', again)
    )
    found = problem(file, ACCOUNT + "[agents.assistant]\n" + bindings)
    assert (found.key, found.what) == ("bindings[2].match", "is the same as that of bindings[0], which wins always")


@pytest.mark.parametrize("field", ["allow_from", "groups"])
@pytest.mark.parametrize("wrong", ["@alice", "alice", "4711 ", "t.me/x", "-", "1e3"])
def test_an_id_that_is_none_of_the_channel(file: Path, field: str, wrong: str) -> None:
    found = problem(file, f'{ACCOUNT}{field} = ["*", "4711", "-1001234567890", "{wrong}"]')
    assert found.key == f"[channels.telegram.accounts.main].{field}[3]"
    assert found.found == f"the text {wrong!r}"
    if wrong.strip() == wrong:
        assert (found.what, found.allowed) == ("is not an id of Telegram", 'a number, or "*" for any')


def test_a_channel_that_says_nothing_of_its_ids_takes_any(file: Path) -> None:
    config = load(file, '[channels.webchat.accounts.main]\nallow_from = ["@alice", "*"]')
    assert config.accounts[0].frame.allow_from == ("@alice", "*")


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


@pytest.mark.parametrize(
    ("text", "open_groups", "warning"),
    [
        (ACCOUNT + 'groups = ["-100123"]', ("-100123",), "whoever is in a group of this list may talk to the agent"),
        (ACCOUNT + 'groups = ["-100123", "*"]', ("-100123", "*"), "whoever is in a group of this list may talk to the agent"),
        (GROUP + 'commands = ["1"]', ("-100123",), "has no allow_from: whoever is in the group may talk"),
        (GROUP + 'allow_from = ["*"]', ("-100123",), None),
        (GROUP + 'allow_from = ["1"]\ncommands = ["1"]\nrequire_mention = false\nagent = "assistant"', (), None),
        (GROUP + "allow_from = []", (), "is empty: nobody in the group can talk"),
        (GROUP + 'allow_from = []\ncommands = ["1"]', (), None),
        (ACCOUNT + 'group_policy = "disabled"\ngroups = ["1"]', (), "has no effect while group_policy is disabled"),
        (ACCOUNT + 'group_policy = "open"', ("*",), None),
    ],
)
def test_it_is_said_where_whoever_is_in_a_group_may_talk(
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


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("[channels.unusable.accounts.a]", "cannot be decoded: NameError: name 'NoSuchType'"),
        ("[channels.missing.accounts.a]", "'tests.config.plugins:NotThere' cannot be imported"),
        ("[channels.twice.accounts.a]", "is offered more than once; uninstall all but one"),
        ("[channels.fussy.accounts.a]\nnumber = 14", "Fussy cannot be made: KeyError: 'a bug'"),
        ("[channels.fussy.accounts.a]\nnumber = 15", "the plugin's own check failed: RuntimeError: another bug"),
        ('[agents.b]\ncore = "fussy"\nnumber = 15', "the plugin's own check failed: RuntimeError: another bug"),
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
