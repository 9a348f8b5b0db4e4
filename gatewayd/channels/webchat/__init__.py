"""The web chat: a page of gatewayd itself, behind a login link."""

from math import inf

from gatewayd.ports.channel import ChannelPlugin, HttpRoute

PLUGIN = ChannelPlugin(
    id="webchat",
    label="Web chat",
    settings="gatewayd.channels.webchat.settings:WebchatSettings",
    open="gatewayd.channels.webchat.channel:open_webchat",
    http="gatewayd.channels.webchat.http:PAGES",
    routes=(
        HttpRoute("GET"),
        HttpRoute("GET", "files/<name>"),
        HttpRoute("POST", "links", scope="admin"),
        HttpRoute("GET", "sessions", scope="admin"),
        HttpRoute("POST", "revoke", scope="admin"),
        HttpRoute("POST", "login", at_most_bytes=4096),
        HttpRoute("POST", "logout"),
        HttpRoute("GET", "history"),
        HttpRoute("POST", "messages"),
        HttpRoute("POST", "presses"),
        HttpRoute("GET", "stream"),
    ),
    front_page=True,
    text_format="markdown",
    authenticates_peers=True,
    resend_safe_seconds=inf,
    one_account=True,
    buttons=True,
    edits=True,
)
