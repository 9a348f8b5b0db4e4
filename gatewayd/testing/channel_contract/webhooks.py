"""Requests of a platform: only its own are taken, and each of them as often as it comes."""

from msgspec.structs import replace

from gatewayd.ports.channel import ReceivesWebhooks, WebhookReply, WebhookRequest
from gatewayd.testing.channel_contract.account import Account
from gatewayd.testing.channel_contract.fixtures import ChannelFixtures
from gatewayd.testing.channel_contract.harness import WebhooksHarness

GARBAGE = (b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 5_000, b"\x00" * 100)


class WebhooksContract(ChannelFixtures):
    async def test_a_request_is_the_same_event_each_time(self) -> None:
        """A platform that gets no answer in time sends its request again."""
        async with self.rig() as rig:
            self.need("webhook")
            harness = self.has(rig.harness, WebhooksHarness, "webhooks")
            async with rig.account() as account:
                request = await harness.genuine("hello")
                first, again = [self._receive(account, request) for _ in range(2)]
        assert request.method in self.plugin.webhook_methods, "the daemon refuses this method by the manifest"
        assert first.status < 300
        assert [envelope.text for envelope in first.envelopes] == ["hello"]
        assert [envelope.event_key for envelope in first.envelopes] == [envelope.event_key for envelope in again.envelopes]

    async def test_a_request_that_is_not_the_platforms_is_refused(self) -> None:
        """Anybody can send a request. Without the secret, or with another one, nothing of it is journaled."""
        async with self.rig() as rig:
            self.need("webhook")
            harness = self.has(rig.harness, WebhooksHarness, "webhooks")
            async with rig.account() as account:
                genuine = await harness.genuine("hello")
                for forged in harness.forged(genuine):
                    reply = self._receive(account, forged)
                    rig.secrets.check("the answer to a forged request", repr(reply.body))
                    assert reply.status >= 400, "it takes a request that anybody could have sent"
                    assert reply.envelopes == ()

    async def test_no_request_is_too_strange(self) -> None:
        """Whatever comes gets an answer. An exception would look like an outage of ours."""
        async with self.rig() as rig:
            self.need("webhook")
            harness = self.has(rig.harness, WebhooksHarness, "webhooks")
            async with rig.account() as account:
                genuine = await harness.genuine("hello")
                for body in GARBAGE:
                    for headers in (genuine.headers, {}):
                        reply = self._receive(account, replace(genuine, body=body, headers=headers))
                        assert reply.envelopes == ()
                        assert headers or reply.status >= 400

    def _receive(self, account: Account, request: WebhookRequest) -> WebhookReply:
        channel = account.channel
        assert isinstance(channel, ReceivesWebhooks), "the manifest says webhook, and it does not implement ReceivesWebhooks"
        return channel.receive(request)
