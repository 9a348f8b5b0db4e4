"""The web chat: the page that the daemon serves itself, behind a login link."""

from math import inf

from gatewayd.ports.channel import ChannelPlugin

PLUGIN = ChannelPlugin(
    id="webchat",
    label="Web chat",
    settings="gatewayd.channels.webchat.settings:WebchatSettings",
    open="gatewayd.channels.webchat.channel:open_webchat",
    text_format="markdown",
    authenticates_peers=True,
    resend_safe_seconds=inf,
    one_account=True,
    buttons=True,
    edits=True,
)
