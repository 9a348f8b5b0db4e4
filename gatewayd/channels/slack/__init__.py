"""Slack (docs.slack.dev): Socket Mode or the Events API."""

from gatewayd.ports.channel import ChannelPlugin, TextLimit

PLUGIN = ChannelPlugin(
    id="slack",
    label="Slack",
    settings="gatewayd.channels.slack.settings:SlackSettings",
    open="gatewayd.channels.slack.channel:open_slack",
    text_format="rich",
    text_limit=TextLimit(4000, "bytes"),  # see LONGEST_TEXT in sending/render.py
    wire_size="gatewayd.channels.slack.sending.render:wire_size",
    webhook=True,
    webhook_answer_seconds=2.5,  # "Using the Events API", "Responding to events": within three seconds
    buttons=True,
    repeats_presses=False,  # "Handling user interaction": what is not answered within three seconds is an error to the person
    edits=True,
    grows=True,
    files=True,
    file_bytes=1_000_000_000,  # "Uploading files": 1 GB
    ephemeral=True,
    reconciles=True,
    recalls=True,
    id_pattern=r"[UW][A-Z0-9]{2,20}",
    id_form='the id of a member such as "U012AB3CD" (in the member\'s profile: "Copy member ID"), never a name',
    place_pattern=r"[CG][A-Z0-9]{2,20}",
    place_form='the id of a channel such as "C012AB3CD" (at the end of "View channel details")',
)
