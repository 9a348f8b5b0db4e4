"""Real reverse proxies in front of a daemon, with the configurations of docs/how-to/proxies.md."""

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from msgspec import Struct

from tests.fakes.bot_api import FakeBotApi
from tests.web.client import Answer, RawClient, request
from tests.whole.process import Daemon, daemon
from tests.whole.test_telegram import ALICE, configuration

PAGE = (Path(__file__).parents[2] / "docs/how-to/proxies.md").read_text()
PUBLIC = "gw.example.org"
CLIENT = "127.0.0.5"
START_SECONDS = 20.0
MORE = """\
[channels.webchat.accounts.main]
"""

pytestmark = pytest.mark.slow


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    return str(found)


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, f"the page says no more: {old}"
        text = text.replace(old, new)
    return text


class Proxy(Struct, frozen=True):
    """How one is run: ``prepare`` writes its files for a port of its own and one of gatewayd; the command. No TLS."""

    program: str
    prepare: Callable[[Path, int, int], list[str]]
    answers_half_closed: bool = True


def caddy(folder: Path, port: int, behind: int) -> list[str]:
    site = replaced(block("caddyfile"), (PUBLIC, f"http://:{port}"), ("127.0.0.1:18790", f"127.0.0.1:{behind}"))
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + site)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def nginx(folder: Path, port: int, behind: int) -> list[str]:
    server = re.sub(r"^ *ssl_.*\n", "", block("nginx"), flags=re.M)
    server = replaced(server, ("listen 443 ssl", f"listen 127.0.0.1:{port}"), ("127.0.0.1:18790", f"127.0.0.1:{behind}"))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{server}}}\n"
    )
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def haproxy(folder: Path, port: int, behind: int) -> list[str]:
    given = re.sub(r" ssl crt \S+", "", block("haproxy"))
    given = replaced(given, ("bind :443", f"bind 127.0.0.1:{port}"), ("127.0.0.1:18790", f"127.0.0.1:{behind}"))
    (folder / "haproxy.cfg").write_text(f"global\n    stats socket {folder}/stats mode 600\n{given}")
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


PROXIES = (Proxy("caddy", caddy, answers_half_closed=False), Proxy("nginx", nginx), Proxy("haproxy", haproxy))


def executable(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@asynccontextmanager
async def running(proxy: Proxy, folder: Path, port: int, behind: int) -> AsyncIterator[None]:
    """The proxy, from when it listens; ended by its process."""
    folder.mkdir()
    command = proxy.prepare(folder, port, behind)
    environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin", "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=folder
        )
    try:
        with trio.fail_after(START_SECONDS):
            while True:
                assert process.poll() is None, (folder / "log").read_text()
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                    break
                except OSError:
                    await trio.sleep(0.02)  # another process
        yield
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()


@asynccontextmanager
async def dial(port: int) -> AsyncIterator[RawClient]:
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        await sock.bind((CLIENT, 0))
        await sock.connect(("127.0.0.1", port))
        yield RawClient(trio.SocketStream(sock))
    finally:
        sock.close()


async def ask(port: int, raw: bytes) -> Answer:
    async with dial(port) as client:
        with trio.fail_after(20):
            return await client.ask(raw)


def message(gateway: Daemon, key: str, text: str = "hello") -> bytes:
    body = {"channel": "webchat", "account": "main", "event_key": key, "peer": {"kind": "dm", "id": "bob"}, "text": text}
    headers = {"Authorization": f"Bearer {gateway.token}", "Content-Type": "application/json"}
    return request(
        "POST", "/v1/chat/inbound", host=PUBLIC, headers=headers, body=json.dumps(body | {"sender": {"id": "bob"}}).encode()
    )


@pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.program)
async def test_it_works_as_the_page_says(tmp_path: Path, proxy: Proxy) -> None:
    if executable(proxy.program) is None:
        pytest.skip(f"there is no {proxy.program} here: apt-get install {proxy.program}")
    port = free_port()
    keys = f'public_url = "https://{PUBLIC}"\ntrusted_proxies = ["127.0.0.1"]'
    assert keys in block("toml")
    async with FakeBotApi.serve() as api:
        config = configuration(api, tmp_path, mode="webhook", more=MORE, gateway=keys)
        api.route_webhooks(f"https://{PUBLIC}", f"http://127.0.0.1:{port}")
        async with daemon(tmp_path / "state", config) as gateway:
            behind = int(gateway.url.rpartition(":")[2])
            async with running(proxy, tmp_path / "proxy", port, behind):
                assert (await ask(port, request("GET", "/health", host=PUBLIC))).json["ok"]
                assert (await ask(port, request("GET", "/", host="evil.example"))).status == 421
                await webhooks_arrive(api)
                await events_are_not_held_back(gateway, port)
                await a_guesser_is_recorded_under_its_own_address(gateway, port)
                await a_half_closed_client_is_heard(gateway, port, answered=proxy.answers_half_closed)
                if proxy.program == "haproxy":
                    await its_checks_are_up(tmp_path / "proxy/stats")
            assert await gateway.stop() == 0


async def webhooks_arrive(api: FakeBotApi) -> None:
    with trio.fail_after(20):
        assert (await api.wait_webhook()).startswith(f"https://{PUBLIC}/v1/webhooks/telegram/main")
        api.user_sends(ALICE, "over the proxy")
        assert await api.wait_texts(ALICE, 1) == ["over the proxy"]


async def events_are_not_held_back(gateway: Daemon, port: int) -> None:
    async with dial(port) as stream:
        await stream.say(request("GET", "/v1/events", host=PUBLIC, headers={"Authorization": f"Bearer {gateway.token}"}))
        with trio.fail_after(20):
            status, _ = await stream.head()
            assert status == 200
            assert (await ask(port, message(gateway, "seen"))).status == 202
            heard = b""
            while b"inbound.received" not in heard:
                heard += await stream.chunk()


async def a_guesser_is_recorded_under_its_own_address(gateway: Daemon, port: int) -> None:
    for written in ({"X-Forwarded-For": "203.0.113.1"}, {"Forwarded": "for=203.0.113.2"}, {"X-Real-IP": "203.0.113.3"}):
        headers = {"Authorization": "Bearer wrong"} | written
        assert (await ask(port, request("GET", "/v1/channels", host=PUBLIC, headers=headers))).status == 401
    audit = json.dumps(await gateway.get("/v1/audit"))
    assert re.findall(r'"action": "auth.failed", "subject": "([^"]*)"', audit) == [CLIENT] * 3, audit


async def a_half_closed_client_is_heard(gateway: Daemon, port: int, *, answered: bool) -> None:
    async with dial(port) as client:
        await client.say(message(gateway, "half-closed"))
        await client.stream.send_eof()
        with trio.fail_after(20):
            said = await client.rest()
    again = await ask(port, message(gateway, "half-closed"))
    assert again.status == 202
    if answered:
        assert said.startswith(b"HTTP/1.1 202")
        assert again.json["duplicate"]


async def its_checks_are_up(stats: Path) -> None:
    with trio.fail_after(20):
        while True:
            async with await trio.open_unix_socket(stats) as stream:
                await stream.send_all(b"show stat json\n")
                said = b"".join([part async for part in stream]).decode()
            if "L7OK" in said:
                break
            assert "L7STS" not in said
            await trio.sleep(0.1)
