"""Interactions by HTTP: signed POSTs to the app's endpoint ("Interactions", Preparing for Interactions)."""

from collections.abc import Callable
from contextlib import suppress

import httpx2
import msgspec
import trio
from msgspec import Struct

from tests.fakes.discord_platform.errors import ApiError, Json, invalid_form
from tests.fakes.discord_platform.model.interactions import ANSWER_SECONDS, Interaction, Interactions
from tests.fakes.discord_platform.model.world import World

PING = 1
PONG = 1


class Delivery(Struct):
    """One POST and its answer; ``status`` is None when none came in time."""

    body: bytes
    headers: dict[str, str]
    status: int | None = None
    answer: bytes = b""


class HttpSender:
    """``resolve`` turns a public URL into the one that is really connected to: what DNS and a TLS proxy do elsewhere."""

    def __init__(self, world: World, interactions: Interactions, nursery: trio.Nursery, client: httpx2.AsyncClient) -> None:
        self._world = world
        self._interactions = interactions
        self._nursery = nursery
        self._client = client
        self.routes: dict[str, str] = {}
        self.deliveries: list[Delivery] = []
        interactions.send_by_http = self.send

    def resolve(self, url: str) -> str:
        for public, real in self.routes.items():
            if url.startswith(public):
                return real + url.removeprefix(public)
        return url

    def send(self, interaction: Interaction) -> None:
        """In the background; the answer in the HTTP response is taken as the callback is."""
        self._nursery.start_soon(self._send, interaction)

    async def _send(self, interaction: Interaction) -> None:
        delivery = await self.post(interaction.data)
        if delivery.status == 200 and interaction.answer is None:
            # When it is no right answer, the person sees "The application did not respond"; deliveries keep it.
            with suppress(ApiError, msgspec.DecodeError):
                self._interactions.answer(interaction, msgspec.json.decode(delivery.answer, type=Json), [])
        self._world.changed.notify()

    async def post(self, payload: Json, *, forge: Callable[[str, str], tuple[str, str]] | None = None) -> Delivery:
        """One signed POST. ``forge`` gets signature and timestamp, and gives those that are sent instead."""
        url = self._world.application.interactions_endpoint_url
        assert url is not None
        return await self.post_to(url, payload, forge=forge)

    async def post_to(self, url: str, payload: Json, *, forge: Callable[[str, str], tuple[str, str]] | None = None) -> Delivery:
        body = msgspec.json.encode(payload)
        timestamp = str(int(self._world.now()))
        signature = self._world.application.sign(timestamp, body)
        if forge is not None:
            signature, timestamp = forge(signature, timestamp)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Discord-Interactions/1.0 (+https://discord.com)",
            "X-Signature-Ed25519": signature,
            "X-Signature-Timestamp": timestamp,
        }
        delivery = Delivery(body, headers)
        self.deliveries.append(delivery)
        with trio.move_on_after(ANSWER_SECONDS):
            try:
                answer = await self._client.post(self.resolve(url), content=body, headers=headers)
                delivery.status, delivery.answer = answer.status_code, answer.content
            except httpx2.HTTPError:
                pass  # refused or cut: no status
        self._world.changed.notify()
        return delivery

    async def save_endpoint(self, url: str) -> None:
        """Set interactions_endpoint_url as the portal does: a PING must be answered, one with a bad signature must be refused.

        :raises ApiError: 50035, it was not.
        """
        ping: Json = {
            "id": self._world.snowflakes.make(),
            "application_id": self._world.application.id,
            "type": PING,
            "version": 1,
        }
        good = await self.post_to(url, {**ping, "token": "ping"})
        bad = await self.post_to(
            url, {**ping, "token": "ping"}, forge=lambda signature, timestamp: (signature[64:] + signature[:64], timestamp)
        )
        try:
            pong = msgspec.json.decode(good.answer, type=Json).get("type")
        except msgspec.DecodeError:
            pong = None
        if good.status != 200 or pong != PONG or bad.status != 401:
            raise invalid_form(
                "interactions_endpoint_url",
                "APPLICATION_INTERACTIONS_ENDPOINT_URL_INVALID",
                "The specified interactions endpoint url could not be verified.",
            )
        self._world.application.interactions_endpoint_url = url
