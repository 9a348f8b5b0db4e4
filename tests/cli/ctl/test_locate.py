import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatewayd.cli.ctl.connection.locate import Target, is_loopback, locate
from gatewayd.cli.ctl.exit_codes import CtlError, Unreachable, UsageError

LOCAL = "http://127.0.0.1:18790"
TOKEN = "0123456789abcdef"


def settle(directory: Path, *, url: str = LOCAL, pid: int | None = None, token: str | None = TOKEN) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "endpoint.json").write_text(json.dumps({"url": url, "pid": pid or os.getpid(), "from_a_newer_release": 1}))
    if token is not None:
        (directory / "token").write_text(token + "\n")
    return directory


def find(home: Path, /, *, url: str | None = None, token_file: Path | None = None, **env: str) -> Target:
    """Looks into two directories of ``home``: mine, and the system's."""
    return locate((home / "mine", home / "system"), url=url, token_file=token_file, environ=env)


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    return ended.pid


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """``path`` is not for us, even when the tests run as root."""
    as_root = os.geteuid() == 0
    for folder in path.parents:
        if as_root and folder.stat().st_uid == 0 and not folder.stat().st_mode & 1 and len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o111)
    path.chmod(0)
    if as_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if as_root:
            os.seteuid(0)
        path.chmod(0o700)


def test_its_socket_is_preferred_where_somebody_listens(tmp_path: Path) -> None:
    path = settle(tmp_path / "mine") / "gatewayd.sock"
    endpoint = {"url": LOCAL, "pid": os.getpid(), "socket": path.name}
    (tmp_path / "mine/endpoint.json").write_text(json.dumps(endpoint))
    assert find(tmp_path).socket is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        assert find(tmp_path).socket is None
        listening.listen()
        target = find(tmp_path)
        assert (target.url, target.socket, target.token_from) == (LOCAL, path, str(tmp_path / "mine/token"))
        assert find(tmp_path, url=LOCAL).socket is None
        (tmp_path / "mine/endpoint.json").write_text(json.dumps(endpoint | {"socket": f"../mine/{path.name}"}))
        assert find(tmp_path).socket is None
    (tmp_path / "mine/endpoint.json").write_text(json.dumps(endpoint))
    assert find(tmp_path).socket is None, "nobody listens any more"


def test_the_local_daemon_and_its_token_are_found(tmp_path: Path) -> None:
    settle(tmp_path / "mine")
    target = find(tmp_path)
    assert (target.url, target.token.reveal(), target.pid) == (LOCAL, TOKEN, os.getpid())
    assert target.token_from == str(tmp_path / "mine/token")
    assert TOKEN not in repr(target)


def test_the_likelier_directory_wins(tmp_path: Path) -> None:
    settle(tmp_path / "system", url="http://127.0.0.1:3")
    assert find(tmp_path).url == "http://127.0.0.1:3"
    settle(tmp_path / "mine", url="http://127.0.0.1:2")
    assert find(tmp_path).url == "http://127.0.0.1:2"


def test_a_daemon_on_every_address_is_reached_over_loopback(tmp_path: Path) -> None:
    settle(tmp_path / "mine", url="http://0.0.0.0:18790")
    assert find(tmp_path).url == LOCAL
    assert find(tmp_path, url="http://localhost:18790").url == LOCAL
    settle(tmp_path / "mine", url="http://[::]:18790")
    assert find(tmp_path).url == "http://[::1]:18790"


def test_a_stale_endpoint_is_passed_over_for_a_live_one(tmp_path: Path) -> None:
    settle(tmp_path / "mine", pid=dead_pid())
    with pytest.raises(Unreachable, match=r"names process \d+, which has ended\. Start it with `gatewayd`"):
        find(tmp_path)
    settle(tmp_path / "system", url="http://127.0.0.1:3")
    assert find(tmp_path).url == "http://127.0.0.1:3"


@pytest.mark.parametrize("pid", [-1, 0, 2**70])
def test_an_impossible_pid_is_not_alive(tmp_path: Path, pid: int) -> None:
    path = settle(tmp_path / "mine") / "endpoint.json"
    path.write_text(json.dumps({"url": LOCAL, "pid": pid}))
    with pytest.raises(Unreachable):
        find(tmp_path)


def test_a_damaged_endpoint_is_said(tmp_path: Path) -> None:
    (settle(tmp_path / "mine") / "endpoint.json").write_text('{"url":')
    with pytest.raises(Unreachable, match=r"endpoint\.json is damaged"):
        find(tmp_path)


def test_nothing_anywhere_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"No running gatewayd found .*systemctl start gatewayd.*--url") as caught:
        find(tmp_path)
    assert caught.value.code == 2


def test_the_token_of_the_environment_goes_to_the_local_daemon(tmp_path: Path) -> None:
    settle(tmp_path / "mine", token=None)
    assert find(tmp_path, GATEWAYD_TOKEN="from-env").token.reveal() == "from-env"
    with pytest.raises(Unreachable, match="has the tokens of its configuration"):
        find(tmp_path)


def test_an_empty_variable_is_no_variable(tmp_path: Path) -> None:
    settle(tmp_path / "mine")
    found = find(tmp_path, GATEWAYD_URL="", GATEWAYD_TOKEN="")
    assert found.token.reveal() == TOKEN


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://127.0.0.1:18790",
        "http://127.0.0.1:18791",
        "http://example.org:18790",
        "http://127.0.0.1:18790/other",
        "http://localhost",
    ],
)
def test_a_local_token_is_not_sent_to_another_server(tmp_path: Path, elsewhere: str) -> None:
    settle(tmp_path / "mine")
    with pytest.raises(Unreachable, match="a local daemon's token is only sent to that daemon"):
        find(tmp_path, url=elsewhere)
    with pytest.raises(Unreachable, match="a local daemon's token is only sent to that daemon"):
        find(tmp_path, GATEWAYD_URL=elsewhere)


def test_another_name_of_the_local_daemon_gets_its_token_at_its_own_address(tmp_path: Path) -> None:
    settle(tmp_path / "mine")
    assert find(tmp_path, url="http://localhost:18790/").url == LOCAL
    assert find(tmp_path, url="http://[::1]:18790").url == LOCAL


def test_a_stale_endpoint_gives_no_token_away(tmp_path: Path) -> None:
    settle(tmp_path / "mine", pid=dead_pid())
    with pytest.raises(Unreachable, match="There is no token for"):
        find(tmp_path, url=LOCAL)


def test_a_named_token_goes_where_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("my-token\n")
    found = find(tmp_path, url="https://gw.example.org/base/", token_file=tmp_path / "mine")
    assert (found.url, found.token.reveal()) == ("https://gw.example.org/base", "my-token")
    assert find(tmp_path, url="https://gw.example.org", GATEWAYD_TOKEN="t").token_from == "$GATEWAYD_TOKEN"


def test_the_token_of_the_environment_s_url_is_not_sent_to_another(tmp_path: Path) -> None:
    def with_pair(url: str | None) -> Target:
        return find(tmp_path, url=url, GATEWAYD_URL="https://a.example", GATEWAYD_TOKEN="a-token")

    assert with_pair(None).url == "https://a.example"
    assert with_pair("https://a.example/").token.reveal() == "a-token"
    with pytest.raises(Unreachable, match=r"belongs to \$GATEWAYD_URL"):
        with_pair("https://b.example")


@pytest.mark.parametrize("content", ["", "\n", "two words", "line\nline", "naïve", "x" * 5000, "a\r\nHost: evil"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine").write_text(content)
    with pytest.raises(Unreachable, match="does not hold a token"):
        find(tmp_path, url=LOCAL, token_file=tmp_path / "mine")


def test_a_token_file_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="There is no file"):
        find(tmp_path, url=LOCAL, token_file=tmp_path / "none")
    with pytest.raises(Unreachable, match="cannot be read: Is a directory"):
        find(tmp_path, url=LOCAL, token_file=tmp_path)


def test_no_permission_names_the_owner_and_the_way_out(tmp_path: Path) -> None:
    directory = settle(tmp_path / "mine")
    with unreadable(directory), pytest.raises(CtlError, match=r"You may not read .*Try `sudo -u \w+ gatewayctl …`") as caught:
        find(tmp_path)
    assert "$GATEWAYD_URL and $GATEWAYD_TOKEN" in str(caught.value)
    with unreadable(directory / "token"), pytest.raises(CtlError, match=r"or set \$GATEWAYD_TOKEN\."):
        find(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "ftp://host",
        "http://",
        "http://:1",
        "http://h:0",
        "http://h:99999",
        "http://[::1",
        "http://a b/",
        "http://h/\n",
        "http://é/",
    ],
)
def test_what_is_not_a_url_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="is not the URL of a gatewayd"):
        find(tmp_path, url=text, GATEWAYD_TOKEN="t")


@pytest.mark.parametrize("text", ["http://me:token@h", "http://h/?token=x", "http://h/#x"])
def test_a_url_carries_no_token(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="Name the token with --token-file"):
        find(tmp_path, url=text, GATEWAYD_TOKEN="t")


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("localhost", "127.9.9.9", "::1", "localhost.example", "10.0.0.1")] == [True] * 3 + [
        False
    ] * 2


@pytest.mark.parametrize("written", [b"\xef\xbb\xbf%s", b"%s\r\n", b"\xef\xbb\xbf%s\r\n"])
def test_a_token_file_from_windows_is_read(tmp_path: Path, written: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(written % b"a-token-0123456789")
    found = locate([tmp_path], url="http://127.0.0.1:1", token_file=file, environ={})
    assert found.token.reveal() == "a-token-0123456789"
