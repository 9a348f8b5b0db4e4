"""Discord's own OpenAPI description as a judge of requests and answers.

``await broken_requests(discord.log)`` and ``await broken_answers(discord.log)``: what it says against the calls that a fake
Discord saw, whoever made them. The tests that use it are slow: npm installs the description once, and Node runs it.
"""

from tests.fakes.discord_openapi.judge import broken_answers, broken_requests

__all__ = ["broken_answers", "broken_requests"]
