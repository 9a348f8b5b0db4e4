"""A real Chromium, driven over the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

import base64
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import msgspec
import trio
from httpx2.websockets import AsyncWebSocketSession

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0"),
)
LARGEST_MESSAGE = 32 * 1024 * 1024
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, "")}
SHIFT = 8

Params = dict[str, Any]


class Tab:
    """One page. ``complaints`` collects what a developer would see in red: errors, refusals of the CSP, exceptions."""

    def __init__(self, socket: AsyncWebSocketSession) -> None:
        self._socket = socket
        self._last_id = 0
        self._answers: dict[int, trio.MemorySendChannel[Params]] = {}
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self.width = 0

    async def read(self) -> None:
        """Read answers and events until cancelled."""
        while True:
            message = msgspec.json.decode(await self._socket.receive_text())
            if "id" in message:
                await self._answers.pop(message["id"]).send(message)
            else:
                self._note(message["method"], message["params"])

    async def call(self, method: str, **params: object) -> Params:
        """Call one method of the protocol."""
        self._last_id += 1
        sender, receiver = trio.open_memory_channel[Params](1)
        self._answers[self._last_id] = sender
        await self._socket.send_text(msgspec.json.encode({"id": self._last_id, "method": method, "params": params}).decode())
        answer = await receiver.receive()
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: Params = answer["result"]
        return result

    async def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{script}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    async def wait_for(self, script: str, *, within: float = 8.0) -> None:
        """Wait until a JavaScript expression is true; while the page is not there yet, it is not."""
        safely = f"(() => {{ try {{ return Boolean({script}); }} catch {{ return false; }} }})()"
        with trio.move_on_after(within):
            while True:
                if await self.evaluate(safely):
                    return
                await trio.sleep(0.02)
        shown = await self.evaluate("document.body.innerText")
        raise AssertionError(f"not within {within} s: {script}\n{shown}\n{self.complaints}")

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def reload(self) -> None:
        """And wait until the new page begins."""
        await self.evaluate("window.isOld = true")
        await self.call("Page.reload")
        await self.wait_for("!window.isOld")

    async def type(self, text: str) -> None:
        await self.call("Input.insertText", text=text)

    async def press(self, key: str, *, shift: bool = False) -> None:
        code, text = KEYS[key]
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": SHIFT if shift else 0}
        await self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    async def click(self, selector: str) -> None:
        """A click of the mouse in the middle of the first element that matches."""
        where = await self.evaluate(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'nearest'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        common = {"x": where[0], "y": where[1], "button": "left", "clickCount": 1}
        await self.call("Input.dispatchMouseEvent", type="mousePressed", **common)
        await self.call("Input.dispatchMouseEvent", type="mouseReleased", **common)

    async def show_as(self, width: int, height: int, *, phone: bool = False, dark: bool = False, scale: float = 1) -> None:
        """Take the size, touch and colour scheme of a device. A page that overflows becomes wider than a phone."""
        self.width = width
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone)
        await self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def accessible(self) -> list[tuple[str, str]]:
        """(role, name) of everything that assistive technology is shown, in order."""
        tree = await self.call("Accessibility.getFullAXTree")
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in tree["nodes"]
            if not node["ignored"] and node["role"]["value"] not in ("none", "generic", "InlineTextBox")
        ]

    async def screenshot(self, path: Path) -> None:
        picture = await self.call("Page.captureScreenshot", format="png")
        await trio.Path(path).write_bytes(base64.b64decode(picture["data"]))

    def _note(self, method: str, params: Params) -> None:
        if method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.complaints.append(str(params["args"]))


class Browser:
    """One person's browser: its pages share a profile, so its cookies, its storage and its connections."""

    def __init__(self, http: httpx2.AsyncClient, address: str, nursery: trio.Nursery) -> None:
        self._http = http
        self._address = address
        self._nursery = nursery

    async def first(self) -> Tab:
        """The page that is there from the start."""
        pages = (await self._http.get(f"{self._address}/json/list")).json()
        return await self._attach(next(page for page in pages if page["type"] == "page"))

    async def tab(self) -> Tab:
        """Another page, in front of the others."""
        return await self._attach((await self._http.put(f"{self._address}/json/new?about:blank")).json())

    async def window(self, of: Tab) -> Tab:
        """Another page in a window of its own: the others stay visible. ``of`` is any page of this browser."""
        made = await of.call("Target.createTarget", url="about:blank", newWindow=True)
        pages = (await self._http.get(f"{self._address}/json/list")).json()
        return await self._attach(next(page for page in pages if page["id"] == made["targetId"]))

    async def _attach(self, page: Params) -> Tab:
        tab: Tab = await self._nursery.start(self._read, page["webSocketDebuggerUrl"])
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            await tab.call(f"{domain}.enable")
        return tab

    async def _read(self, address: str, *, task_status: trio.TaskStatus[Tab]) -> None:
        async with self._http.websocket(address, max_message_size_bytes=LARGEST_MESSAGE) as socket:
            tab = Tab(socket)
            task_status.started(tab)
            await tab.read()


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Start a Chromium with a fresh profile; ended, with its profile, on leaving."""
    async with _chromium() as profile, httpx2.AsyncClient(verify=False, trust_env=False) as http, trio.open_nursery() as nursery:
        yield Browser(http, await _debugging_address(http, profile), nursery)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_tab() -> AsyncIterator[Tab]:
    """The one page of a Chromium of its own."""
    async with open_browser() as browser:
        yield await browser.first()


@asynccontextmanager
async def _chromium() -> AsyncIterator[Path]:
    """The process, and the directory of its profile."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [str(EXECUTABLE), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield Path(profile)
        finally:
            process.terminate()
            with trio.CancelScope(shield=True):
                await process.wait()


async def _debugging_address(http: httpx2.AsyncClient, profile: Path) -> str:
    """Chromium writes the port it took into its profile, and lists its pages there, once there is one."""
    announced = trio.Path(profile / "DevToolsActivePort")
    with trio.fail_after(20):
        while True:
            await trio.sleep(0.02)
            with suppress(FileNotFoundError, StopIteration):
                port = next(iter((await announced.read_text()).splitlines()))
                address = f"http://127.0.0.1:{port}"
                if any(page["type"] == "page" for page in (await http.get(f"{address}/json/list")).json()):
                    return address
