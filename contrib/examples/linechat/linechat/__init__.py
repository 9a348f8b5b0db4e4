"""A chat of the users of one machine: a Unix socket, with one JSON object on each line."""

from gatewayd.ports.channel import ChannelPlugin

PLUGIN = ChannelPlugin(
    id="linechat",
    label="Line chat",
    settings="linechat.settings:LineSettings",
    open="linechat.channel:open_linechat",
    text_format="plain",
    authenticates_peers=True,
    edits=True,
    id_pattern="[0-9]+",
    id_form="the number of a user, as `id -u` prints it",
)
