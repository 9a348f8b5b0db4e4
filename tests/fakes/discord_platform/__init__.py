"""A fake Discord: REST v10, gateway v10, CDN and HTTP interactions on Trio, with the platform's rules and words.

In process::

    async with FakeDiscord.serve() as discord:
        ada = discord.add_user("ada")
        guild = discord.add_guild("Home", members=[ada])
        channel = discord.add_channel(guild, "general")
        ...  # the driver gets discord.api_url ("http://127.0.0.1:…/api/v10") and discord.token
        await discord.gateway.wait_connected()
        question = discord.say(ada, channel, f"<@{discord.bot_id}> hello")
        assert await discord.wait_texts(channel, 1) == ["hello, ada"]

        discord.limit_next(CREATE_MESSAGE, 149.0)  # 429 for 149 s; scope="global" or "shared" for the other two
        discord.cut_next(CREATE_MESSAGE, after_effect=True)
        card = await discord.wait_text(channel, "May I?")
        press = discord.press(ada, card, "Allow")  # by label or custom_id
        await discord.wait_answer(press)  # the type of the interaction callback

        discord.gateway.reset_all()  # TCP ends; the session stays resumable for gateway.state.sessions.life_seconds
        discord.say(ada, channel, "said in between")  # comes by the resume
        await discord.gateway.wait_resumes(1)
        discord.go_down()  # REST and gateway reset everything until come_up()
        discord.gateway.forget_sessions()  # the next resume gets INVALID_SESSION
        discord.gateway.behave(acknowledges=False)  # fields of gateway.behaviour.Behaviour: zombies, silence, split frames
        discord.gateway.next_identify("close", 4014)
        assert (discord.gateway.identify_count, discord.invalid.count) == (1, 0)
        second = await discord.add_bot("second")  # another application behind the same address

As a process of its own: ``python -m tests.fakes.discord_platform --control``, driven by :class:`RemoteDiscord`
(``await remote.do("say", ada, channel, "hello")``, ``await remote.get("token")``).

Ids are strings. Every request is in ``discord.log`` (``calls(route)``, ``statuses(route)``, ``wait_call(route)``), by the names
that Discord's OpenAPI gives its paths. Time is Trio's clock, a fake one included; nothing sleeps otherwise. What no correct
client does is in ``violations``, and fails the test at the end. Facts come from discord.com/developers/docs; each module names
its page.
"""

from tests.fakes.discord_platform.errors import Json
from tests.fakes.discord_platform.platform import CREATE_MESSAGE, FakeDiscord
from tests.fakes.discord_platform.remote import RemoteDiscord
from tests.fakes.discord_platform.rest.server import DOWNLOAD

__all__ = ["CREATE_MESSAGE", "DOWNLOAD", "FakeDiscord", "Json", "RemoteDiscord"]
