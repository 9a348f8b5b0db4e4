"""The text limits of open accounts."""

import pytest
from structlog.testing import capture_logs

from gatewayd.hub.configured import Configured
from gatewayd.model.config import GatewayConfig
from gatewayd.model.ids import Peer
from gatewayd.ports.channel import ChannelPlugin, TextLimit

PLUGIN = ChannelPlugin("chat", "Chat", settings="", open="", text_limit=TextLimit(400, "bytes"))
ALICE = Peer("dm", "alice")


class Limits:
    """A channel that limits texts by the length of the peer's name."""

    def limit_of(self, peer: Peer) -> TextLimit:
        return TextLimit(400 - len(peer.id), "bytes", 1)


class Broken:
    def limit_of(self, peer: Peer) -> TextLimit:
        raise KeyError(peer.id)


class Wrong:
    def limit_of(self, peer: Peer) -> TextLimit:
        return None  # type: ignore[return-value]


class Says:
    def __init__(self, *limit: object) -> None:
        self._limit = TextLimit(*limit)  # type: ignore[arg-type]

    def limit_of(self, peer: Peer) -> TextLimit:
        return self._limit


UNUSABLE = [Says(0, "chars"), Says(3, "bytes"), Says(-1, "utf16"), Says(9, "chars", 0), Says("9", "chars"), Says(9, "feet")]


def configured() -> Configured:
    return Configured(GatewayConfig(), {"chat": PLUGIN})


def test_an_open_account_says_the_limit_of_a_peer_and_only_while_it_is_open() -> None:
    parts, limits = configured(), Limits()
    assert parts.plugin_for("chat", "main", ALICE) is PLUGIN
    with parts.limited("chat", "main", limits):
        assert parts.plugin_for("chat", "main", ALICE).text_limit == TextLimit(395, "bytes", 1)
        assert parts.plugin_for("chat", "other", ALICE) is PLUGIN
        with parts.limited("chat", "main", Limits()):
            pass
        assert parts.plugin_for("chat", "main", ALICE) is PLUGIN
    with pytest.raises(KeyError):
        parts.plugin_for("none", "main", ALICE)


@pytest.mark.parametrize("driver", [Broken(), Wrong(), *UNUSABLE])
def test_a_driver_that_says_no_limit_has_the_manifests(driver: Broken | Wrong | Says) -> None:
    parts = configured()
    with parts.limited("chat", "main", driver), capture_logs() as logs:
        assert parts.plugin_for("chat", "main", ALICE) is PLUGIN
    assert [line["event"] for line in logs] == ["limit_of_failed"]
