"""IRC, as RFC 1459 and 2812, modern.ircdocs.horse and the IRCv3 specifications describe it."""

from gatewayd.ports.channel import ChannelPlugin, TextLimit

PLUGIN = ChannelPlugin(
    id="irc",
    label="IRC",
    settings="gatewayd_irc.settings:IrcSettings",
    open="gatewayd_irc.channel:open_irc",
    text_format="rich",
    text_limit=TextLimit(size=450, unit="bytes", lines=1),
    wire_size="gatewayd_irc.text:wire_size",
    acknowledges=False,
    id_pattern=r"account:[^\sA-Z]+|nick:[^\s@A-Z]+@[^\sA-Z]+",
    id_form='in lower case: "account:NAME", the account of services, or "nick:NICK@HOST" of somebody who has none',
    place_pattern=r"[#&+!][^\s,\x07A-Z]*",
    place_form='a channel in lower case, such as "#help"',
)
