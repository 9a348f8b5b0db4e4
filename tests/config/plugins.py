"""The settings of a few invented plug-ins, and a registry of them."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gatewayd.model.config import GatewaySection
from gatewayd.model.secret import Secret
from gatewayd.plugins import Registry
from gatewayd.ports.agent import AgentPlugin
from gatewayd.ports.channel import ChannelPlugin

HERE = "tests.config.plugins"


class TelegramSettings(Struct, frozen=True, forbid_unknown_fields=True):
    token: Secret
    """The bot's token."""
    mode: Literal["poll", "webhook"] = "poll"
    """How updates arrive."""
    timeout_seconds: Annotated[float, Meta(gt=0, le=50)] = 25.0
    """How long a poll waits."""
    spare_token: Secret | None = None

    def problems(self, gateway: GatewaySection) -> Iterator[str]:
        if self.mode == "webhook" and gateway.public_url is None:
            yield 'mode "webhook" needs gateway.public_url'


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(ge=1, le=10)]
    secret: Secret | None = None


class OddSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Every shape of annotation a plug-in may use."""

    part: Part | None = None
    parts: Annotated[tuple[Part, ...], Meta(max_length=2)] = ()
    by_name: dict[str, Part] = {}
    either_way: int | str = 0
    pair: tuple[int, str] = (0, "")
    secrets: dict[str, Secret] = {}
    ratio: float = 1.0


class Fussy(Struct, frozen=True, forbid_unknown_fields=True):
    number: int = 0

    def __post_init__(self) -> None:
        if self.number == 13:
            raise ValueError("thirteen is refused here")
        if self.number == 14:
            raise KeyError("a bug")

    def problems(self, gateway: GatewaySection) -> Iterator[str]:
        if self.number == 15:
            raise RuntimeError("another bug")
        return iter(())


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No keys of its own."""


class Greedy(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: int = 0


class Unusable(Struct, frozen=True, forbid_unknown_fields=True):
    number: "NoSuchType" = 0  # type: ignore[name-defined]  # noqa: F821


def channel(name: str, settings: str, *, one_account: bool = False, id_pattern: str | None = None) -> ChannelPlugin:
    return ChannelPlugin(
        id=name,
        label=name.title(),
        settings=f"{HERE}:{settings}",
        open=f"{HERE}:channel",
        one_account=one_account,
        id_pattern=id_pattern,
        id_form="a number",
        place_pattern=id_pattern and "-[0-9]+",
        place_form="a number below zero",
    )


def registry() -> Registry:
    return Registry.of(
        channels=[
            channel("telegram", "TelegramSettings", id_pattern="-?[0-9]+"),
            channel("webchat", "Nothing", one_account=True),
            channel("odd", "OddSettings"),
            channel("fussy", "Fussy"),
            channel("greedy", "Greedy"),
            channel("unusable", "Unusable"),
            channel("missing", "NotThere"),
            channel("twice", "Nothing"),
            channel("twice", "Nothing"),
        ],
        agents=[
            AgentPlugin(id="echo", label="Echo", settings=f"{HERE}:Nothing", open=f"{HERE}:channel"),
            AgentPlugin(id="fussy", label="Fussy", settings=f"{HERE}:Fussy", open=f"{HERE}:channel"),
        ],
    )
