"""A chat of the users of one machine: a Unix socket, with one JSON object on each line."""

from gatewayd.ports.channel import ChannelPlugin

PLUGIN = ChannelPlugin(
    # As in [channels.linechat.accounts.NAME], and in the entry point in pyproject.toml.
    id="linechat",
    label="Linechat",  # for people
    settings="linechat.settings:Settings",  # a text: the manifest imports no driver
    open="linechat.channel:open_account",
    text_format="plain",  # what the network shows; "markdown" and "rich" have marks
    authenticates_peers=True,  # the socket's permissions admit people. Without it, somebody new gets a pairing code
    edits=True,  # a message can be changed after it was sent
    id_pattern="[0-9]+",  # ids of users; anything else in the configuration is an error there
    id_form="the number of a user, as `id -u` prints it",  # the same in words
    # What your network has, and this one has not, is one word each: buttons, files, text_limit, webhook, reconciles …
    # See docs/how-to/write-a-channel.md of gatewayd, "Your own network".
)
