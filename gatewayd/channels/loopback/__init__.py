"""The loopback: a channel in memory, for tests and for authors of plug-ins. The smallest complete driver there is."""

from gatewayd.ports.channel import ChannelPlugin, TextLimit

PLUGIN = ChannelPlugin(
    id="loopback",
    label="Loopback",
    settings="gatewayd.channels.loopback.settings:LoopbackSettings",
    open="gatewayd.channels.loopback.channel:open_loopback",
    text_limit=TextLimit(size=4096, unit="chars"),
    buttons=True,
    edits=True,
    grows=True,
    files=True,
    file_bytes=10_000_000,
)
