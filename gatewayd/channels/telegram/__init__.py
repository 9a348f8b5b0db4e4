"""Telegram, by the Bot API (core.telegram.org/bots/api): long poll or webhook."""

from gatewayd.ports.channel import ChannelPlugin, TextLimit

PLUGIN = ChannelPlugin(
    id="telegram",
    label="Telegram",
    settings="gatewayd.channels.telegram.settings:TelegramSettings",
    open="gatewayd.channels.telegram.channel:open_telegram",
    text_format="rich",
    text_limit=TextLimit(size=4096, unit="utf16"),  # sendMessage, parameter text: after entities parsing
    webhook=True,
    buttons=True,
    edits=True,
    grows=True,
    id_pattern=r"-?[1-9][0-9]{0,18}",
    id_form='a numeric id such as "4711" or "-1001234567890" (never an @name, which its owner can give away)',
    place_pattern=r"-[1-9][0-9]{0,18}",  # the ids of groups are below 0, those of users are not
    place_form='the numeric id of a group, such as "-1001234567890"',
)
