"""The command as a whole: help, usage, errors of the wire, and what it costs to load."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import typer
from typer.core import TyperArgument, TyperOption

from gatewayd import __version__
from gatewayd.cli.ctl.connection.errors import NO_SUCH_PATH
from gatewayd.cli.gatewayctl import app
from tests.cli.conftest import Ctl
from tests.cli.fake_gatewayd import TOKEN, Answer, FakeGatewayd, error, of, serve

Parameter = TyperArgument | TyperOption
STATUS = "/v1/gateway/status"
REFERENCE = Path(__file__).parents[2] / "docs/reference/gatewayctl.md"


@contextmanager
def listener(answer: bytes | None) -> Iterator[str]:
    """Takes connections on loopback, answers each with the same bytes and closes it; None: never answers."""
    held = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                if answer is None:
                    held.append(connection)
                    continue
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


def commands() -> Iterator[tuple[str, list[Parameter]]]:
    """Every command by its full name, with its parameters."""
    for name, command in typer.main.get_group(app).commands.items():
        inside = getattr(command, "commands", None)
        for full, one in [(f"{name} {sub}", one) for sub, one in inside.items()] if inside else [(name, command)]:
            yield full, [param for param in one.params if isinstance(param, TyperArgument | TyperOption)]


def sections() -> dict[str, str]:
    return dict(re.findall(r"^### `gatewayctl (.*?)`\n(.*?)(?=^##|\Z)", REFERENCE.read_text(), re.M | re.S))


def test_the_reference_has_every_command_and_no_other() -> None:
    assert sections().keys() == {name for name, _ in commands()}


@pytest.mark.parametrize(("name", "params"), [pytest.param(*command, id=command[0]) for command in commands()])
def test_the_reference_has_every_option_and_argument(name: str, params: list[Parameter]) -> None:
    text = sections()[name]
    known = {opt for param in params if param.param_type_name == "option" for opt in param.opts}
    arguments = [param.metavar or str(param.name).upper() for param in params if param.param_type_name == "argument"]
    assert {opt for opt in known if not re.search(rf"`{opt}\b", text)} == set()
    assert [argument for argument in arguments if argument not in text] == []
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text.replace("gatewayctl events --kind", ""))) - known == set()


def test_the_reference_has_every_global_option() -> None:
    options = [param.opts[0] for param in typer.main.get_group(app).params]
    options += ["--install-completion", "--show-completion", "--help"]
    page = REFERENCE.read_text()
    assert [option for option in options if f"| `{option}" not in page and f"`, `{option}" not in page] == []


@pytest.mark.parametrize("args", [["--help"], *([*name.split(), "-h"] for name, _ in commands())], ids=" ".join)
def test_every_command_has_help(ctl: Ctl, args: list[str]) -> None:
    code, out, err = ctl(*args)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: gatewayctl")
    assert max(map(len, out.splitlines())) <= 80


def test_version(ctl: Ctl) -> None:
    assert ctl("--version") == (0, f"gatewayctl {__version__}\n", "")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["letters", "retry", "in-1", "--yes"],
            "gatewayctl: the command letters is dead-letters now: gatewayctl dead-letters.",
        ),
        (["nonsense"], "gatewayctl: No such command 'nonsense'. See: gatewayctl --help\n"),
        (["statu"], "gatewayctl: No such command 'statu'. Did you mean 'status'? See: gatewayctl --help\n"),
        (["agents", "shw", "x"], "gatewayctl: No such command 'shw'. Did you mean 'show'? See: gatewayctl agents --help\n"),
        (
            ["pairing", "revoke", "telegram", "main"],
            "gatewayctl: Missing argument 'SENDER'. See: gatewayctl pairing revoke --help\n",
        ),
        (
            ["webchat", "link", "--name", "Bob X"],
            "gatewayctl: Invalid value for '--name': 'Bob X' is not a name of a-z, 0-9, _ and -.",
        ),
        (
            ["webchat", "revoke", "x"],
            "gatewayctl: Invalid value for 'ID': 'x' is not the ID of a login; gatewayctl webchat sessions",
        ),
        (
            ["route", "--channel", "a", "--account", "", "--peer", "dm:1"],
            "gatewayctl: Invalid value for '--account': it is empty.",
        ),
        (["status", "--nonsense"], "gatewayctl: No such option: --nonsense."),
        (
            ["status", "--url", "x"],
            "gatewayctl: No such option: --url. Write it before the command: gatewayctl --url … COMMAND.",
        ),
        (
            ["--timeout", "0", "status"],
            "gatewayctl: Invalid value for '--timeout': Input should be greater than or equal to 0.1.",
        ),
        (["channels", "start"], "gatewayctl: Missing argument 'CHANNEL[/ACCOUNT]'."),
        (["channels", "start", "/main"], "gatewayctl: '/main' names no account."),
        (["channels", "start", "telegram/"], "gatewayctl: 'telegram/' names no account."),
        (
            ["route", "--channel", "a", "--account", "b", "--peer", "4711"],
            "gatewayctl: Invalid value for '--peer': a peer is dm:ID",
        ),
        (["--url", "gatewayd", "status"], "gatewayctl: 'gatewayd' is not the URL of a gatewayd."),
        (["webchat"], "Usage: gatewayctl webchat "),
        ([], "Usage: gatewayctl [OPTIONS] COMMAND"),
    ],
)
def test_a_wrong_command_line_is_64(ctl: Ctl, args: list[str], said: str) -> None:
    code, out, err = ctl(*args)
    assert (code, out) == (64, "")
    assert err.startswith(said)


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (
            error(401, "unauthorized", "the token is not known."),
            1,
            "gatewayd refused the token from $GATEWAYD_TOKEN (401: the token",
        ),
        (
            error(403, "forbidden", "no"),
            1,
            "The token from $GATEWAYD_TOKEN lacks the scope 'read' (403: no). Use a token that has it",
        ),
        (error(403, "bad_origin", "go away"), 1, "go away (403)."),
        (
            error(404, "not_found", NO_SUCH_PATH),
            1,
            "This gatewayd does not know /v1/gateway/status: it is of another release.",
        ),
        (error(404, "not_found", "there is no such thing"), 1, "there is no such thing (404)."),
        (error(405, "method_not_allowed", "no"), 1, "This gatewayd does not know /v1/gateway/status"),
        (error(421, "misdirected", "no"), 1, "gatewayd does not answer as 127.0.0.1 (421). Add it to gateway.allowed_hosts"),
        (error(429, "too_many_requests", "wait"), 1, "gatewayd asks to slow down (429: wait). Try again in a minute."),
        (error(503, "draining", "no"), 1, "gatewayd is stopping (503). Try again when it has started."),
        (error(503, "unavailable", "the disk is full"), 1, "gatewayd could not do it (503: the disk is full). Its log says why"),
        (error(500, "internal", "\x1b[31mno\x1b[0m"), 1, "gatewayd could not do it (500: no). Its log says why"),
        (error(409, "conflict", "it is stopped"), 1, "it is stopped (409)."),
        (Answer(502, b"<html>"), 2, "The proxy at http://127.0.0.1:PORT answers 502: it does not reach gatewayd."),
        (Answer(404, b"nginx"), 2, "What listens at http://127.0.0.1:PORT is not gatewayd (it answers 404). Check the URL"),
        (
            Answer(302, headers=(("Location", "https://evil/"),)),
            2,
            "http://127.0.0.1:PORT redirects to https://evil/, and a token",
        ),
        (Answer(200, b"<html>hello", "text/html"), 2, "What listens at http://127.0.0.1:PORT is not gatewayd: its answer is of"),
        (Answer(200, b"[" * 100_000), 2, "What listens at http://127.0.0.1:PORT "),
        (
            of({"hello": "world"}),
            2,
            "What listens at http://127.0.0.1:PORT gives an answer that is not understood here (Object missing",
        ),
    ],
)
def test_a_bad_answer_is_one_or_two_sentences(
    daemon: FakeGatewayd, ctl: Ctl, monkeypatch: pytest.MonkeyPatch, answer: Answer, code: int, said: str
) -> None:
    monkeypatch.setenv("GATEWAYD_TOKEN", TOKEN)
    daemon.on("GET", STATUS, answer)
    ran = ctl("status", "--json")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("gatewayctl: " + said.replace("PORT", str(daemon.port)))
    assert ran.err.count("\n") == 1
    assert TOKEN not in ran.err
    assert [asked.path for asked in daemon.asked] == [STATUS]


@pytest.mark.parametrize(
    ("bytes_back", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "does not speak HTTP as gatewayd does"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{", "closed the connection without an answer"),
        (b"", "closed the connection without an answer"),
        (None, "did not answer within 0.2 s"),
    ],
)
def test_a_bad_line_is_2(ctl: Ctl, monkeypatch: pytest.MonkeyPatch, bytes_back: bytes | None, said: str) -> None:
    monkeypatch.setenv("GATEWAYD_TOKEN", TOKEN)
    with listener(bytes_back) as address:
        code, out, err = ctl("--timeout", "0.2", "--url", f"http://{address}", "status")
    assert (code, out) == (2, "")
    assert err.startswith("unreachable: ")
    assert said in err
    assert err.count("\n") == 1


def test_an_answer_in_drops_is_given_up(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAYD_TOKEN", TOKEN)
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
                while not ended.wait(0.02):
                    connection.sendall(b" ")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            code, out, err = ctl("--timeout", "0.1", "--url", f"http://127.0.0.1:{server.getsockname()[1]}", "status")
        finally:
            ended.set()
            thread.join()
    assert (code, out) == (2, "")
    assert "was still answering after 0.6 s" in err


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"{}", b"[" * 10_000, b'{"x":' * 10_000, b'{"accounts":[1]}', b"null"])
@pytest.mark.parametrize(
    "args",
    [
        ["status"],
        ["channels", "list"],
        ["channels", "stop", "x"],
        ["approvals", "list"],
        ["approvals", "show", "x"],
        ["approvals", "deny", "x"],
        ["approvals", "watch"],
        ["dead-letters", "list"],
        ["dead-letters", "show", "x"],
        ["dead-letters", "retry", "in-1"],
        ["dead-letters", "drop", "--all"],
        ["trace", "x"],
        ["console"],
        ["pairing", "list"],
        ["pairing", "deny", "x"],
        ["route", "--channel", "a", "--account", "b", "--peer", "dm:1"],
        ["webchat", "link"],
        ["events"],
        ["events", "--follow"],
    ],
    ids=" ".join,
)
def test_whatever_answers_there_is_no_traceback(daemon: FakeGatewayd, ctl: Ctl, args: list[str], body: bytes) -> None:
    daemon.otherwise = Answer(200, body)
    for also in ([], ["--json"]):
        ran = ctl(*args, *also)
        assert (ran.code, ran.out) in ((2, ""), (64, ""))
        assert ran.err.count("\n") == 1


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 99999 99:99:99 +9999", "Fri, 31 Dec 9999 23:59:59 -2359"])
def test_a_date_that_is_none_is_passed_over(ctl: Ctl, monkeypatch: pytest.MonkeyPatch, date: str) -> None:
    monkeypatch.setenv("GATEWAYD_TOKEN", TOKEN)
    body = b'{"accounts":[]}'
    with listener(f"HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body) as address:
        assert ctl("--url", f"http://{address}", "channels", "list") == (0, "no accounts are configured\n", "")


def test_tls_where_there_is_none(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAYD_TOKEN", TOKEN)
    with listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        code, _, err = ctl("--url", f"https://{address}", "status")
    assert code == 2
    assert "does not speak TLS. gatewayd itself speaks plain HTTP: is it http:// instead of https://?" in err


def test_a_certificate_is_checked_and_one_s_own_ca_can_be_named(
    ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openssl = shutil.which("openssl") or pytest.skip("makes its certificate with openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make.split(), *names], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    monkeypatch.setenv("GATEWAYD_TOKEN", TOKEN)
    with serve(tls) as fake:
        fake.on("GET", "/v1/channels", of({"accounts": []}))
        code, _, err = ctl("--url", fake.url, "channels", "list")
        assert code == 2
        assert f"The certificate of {fake.url} is not trusted: self-signed certificate." in err
        assert fake.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ctl("--url", fake.url, "channels", "list").code == 0


def test_nothing_listens(ctl: Ctl, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (state_dir / "endpoint.json").write_text(f'{{"url":"http://127.0.0.1:{port}","pid":{os.getpid()}}}')
    (state_dir / "token").write_text(TOKEN)
    code, _, err = ctl("status")
    assert code == 2
    assert f"gatewayd (process {os.getpid()}) does not listen at http://127.0.0.1:{port}: it may be starting or stopping." in err
    monkeypatch.setenv("GATEWAYD_TOKEN", TOKEN)
    code, _, err = ctl("--url", f"http://localhost:{port}", "channels", "list")
    assert code == 2
    assert err.startswith(f"gatewayctl: Nothing answers at http://localhost:{port} (")


def test_settings_of_the_environment_that_cannot_be_used(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAYD_TOKEN", TOKEN)
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    code, _, err = ctl("--url", "https://gw.example", "status")
    assert code == 2
    assert "The environment's proxy or certificate settings cannot be used" in err
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("HTTP_PROXY", "gopher://x")
    assert "cannot be used" in ctl("--url", "http://gw.example", "status").err


def test_proxies_are_not_used_on_loopback(daemon: FakeGatewayd, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    daemon.on("GET", "/v1/channels", of({"accounts": []}))
    assert ctl("channels", "list") == (0, "no accounts are configured\n", "")


def loaded(*args: str) -> set[str]:
    """The modules that a run of gatewayctl has loaded at its end."""
    code = "import sys; from gatewayd.cli.gatewayctl import main; main(); print('\\n', *sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    return set(ran.stdout.splitlines()[-1].split())


def test_help_and_status_load_little(daemon: FakeGatewayd, state_dir: Path) -> None:
    assert not {"httpx2", "rich", "trio", "anyio", "ssl"} & loaded("--help")
    assert not {"trio", "anyio", "quart", "hypercorn", "structlog", "jinja2", "gatewayd.hub", "gatewayd.web"} & loaded("status")


def test_a_reader_that_has_enough_is_no_error(daemon: FakeGatewayd) -> None:
    daemon.on("GET", "/v1/channels", of({"accounts": [], "padding": "x" * 1_000_000}))
    code = "from gatewayd.cli.gatewayctl import main; raise SystemExit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "channels", "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as ran:
        assert ran.stdout is not None
        assert ran.stderr is not None
        assert ran.stdout.read(1) == b"{"
        ran.stdout.close()
        assert ran.stderr.read() == b""
    assert ran.returncode == 0


def test_a_terminal_without_umlauts_gets_escapes(daemon: FakeGatewayd) -> None:
    daemon.on("GET", "/v1/gateway/route", of({"agent_id": "müller", "session_key": "k", "rule": "default"}))
    code = "from gatewayd.cli.gatewayctl import main; raise SystemExit(main())"
    args = ["route", "--channel", "a", "--account", "b", "--peer", "dm:1"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True, env=env)
    assert "m\\xfcller" in ran.stdout
