import pytest

from gatewayd.model.bind import parse_bind
from gatewayd.model.config import AgentFrame, AgentSettings, GatewayConfig, GatewaySection


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("127.0.0.1:18790", ("127.0.0.1", 18790)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_has_a_host_and_a_port(bind: str, expected: tuple[str, int]) -> None:
    assert parse_bind(bind) == expected


@pytest.mark.parametrize(
    "bind", ["", "x", "x:", ":1", "::1:1", "x:65536", "x:-1", "x:+1", "x:1_0", "x:²", "[x:1", "a b:1", "h/p:1"]
)
def test_what_is_no_address(bind: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT|has no usable host|stands in brackets"):
        parse_bind(bind)


def test_the_default_address_is_one() -> None:
    assert parse_bind(GatewaySection().bind) == ("127.0.0.1", 18790)


def agent(name: str, *, default: bool = False) -> AgentSettings:
    return AgentSettings(name, AgentFrame(default=default), AgentFrame())


def test_the_default_agent_is_the_marked_one_else_the_first() -> None:
    assert GatewayConfig(agents=(agent("a"), agent("b"))).default_agent == "a"
    assert GatewayConfig(agents=(agent("a"), agent("b", default=True))).default_agent == "b"
