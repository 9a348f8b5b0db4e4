"""The address to listen on, as it is written in the configuration."""


def parse_bind(bind: str) -> tuple[str, int]:
    """``host:port`` or ``[ipv6]:port`` as host and port. :raises ValueError: it is neither."""
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port[:6]) > 65_535:
        raise ValueError("is not HOST:PORT with a port from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address stands in brackets, as in [::1]:18790")
    if not host or any(character.isspace() or character in "[]/@" for character in host):
        raise ValueError("has no usable host")
    return host, int(port)
