"""Discord (discord.com/developers/docs): the gateway and REST, both in version 10, or interactions over HTTP."""

from gatewayd.ports.channel import ChannelPlugin, TextLimit

PLUGIN = ChannelPlugin(
    id="discord",
    label="Discord",
    settings="gatewayd.channels.discord.settings:DiscordSettings",
    open="gatewayd.channels.discord.channel:open_discord",
    text_format="rich",
    text_limit=TextLimit(2000, "utf16"),  # "Create Message", content: 2,000 characters, of which kind it is not said
    wire_size="gatewayd.channels.discord.sending.render:wire_size",
    webhook=True,
    webhook_answer_seconds=2.5,  # "Receiving and Responding", "Responding to an Interaction": within three seconds
    resend_safe_seconds=120.0,  # "Create Message", enforce_nonce: unique "in the past few minutes"
    buttons=True,
    repeats_presses=False,  # "Receiving and Responding": what is not answered within three seconds is an error to the person
    edits=True,
    grows=True,
    files=True,
    file_bytes=10 * 1024 * 1024,  # "Reference", "Uploading Files": 10 MiB, more in a guild that is boosted
    reconciles=True,
    recalls=True,
    id_pattern=r"[0-9]{15,20}",
    id_form='the id of a user, 15 to 20 digits (developer mode on, then "Copy User ID"), never a name',
    place_pattern=r"[0-9]{15,20}",
    place_form='the id of a channel, 15 to 20 digits (developer mode on, then "Copy Channel ID")',
)
