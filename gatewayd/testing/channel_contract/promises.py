"""What the manifest and the author of the tests say, before anything runs."""

from gatewayd.model.message.payload import RichText
from gatewayd.ports.channel import API
from gatewayd.testing.channel_contract.fixtures import ChannelFixtures
from gatewayd.testing.channel_contract.harness import ABILITIES, PLACES, PROTOCOLS, SEND_FAILURES, PlacesHarness
from gatewayd.testing.manifest import resolve


class PromisesContract(ChannelFixtures):
    def test_the_manifest_is_of_this_port(self) -> None:
        """Words that belong together: a size on the wire has a limit, a limit holds every character."""
        plugin = self.plugin
        assert plugin.api == API
        if plugin.wire_size is not None:
            assert plugin.text_limit is not None, "a wire_size without a text_limit is compared with nothing"
            size = resolve(plugin.wire_size)
            assert callable(size)
            assert size(RichText("")) <= size(RichText("text")) > 0
        if plugin.text_limit is not None:
            assert plugin.text_limit.size >= 16
            assert plugin.text_limit.lines is None or plugin.text_limit.lines >= 1
        assert plugin.resend_safe_seconds is None or plugin.resend_safe_seconds > 0
        assert plugin.webhook_answer_seconds > 0
        assert all(method.isupper() for method in plugin.webhook_methods)

    def test_each_excuse_is_of_something_and_has_a_reason(self) -> None:
        """An excuse for nothing hides a misspelt one."""
        known = {*SEND_FAILURES, *PLACES, *ABILITIES, *(name for name in dir(self) if name.startswith("test_"))}
        unknown = sorted(set(self.excuses) - known)
        words = ", ".join([*SEND_FAILURES, *PLACES, *ABILITIES])
        assert unknown == [], f"excuses has what is no test of the contract and none of these: {words}"
        assert all(reason.strip() for reason in self.excuses.values()), "an excuse says why"

    async def test_nothing_is_excused_that_the_harness_has(self) -> None:
        """What is excused is not tested, though it could be."""
        async with self.rig() as rig:
            harness = rig.harness
            places = harness.places if isinstance(harness, PlacesHarness) else {}
            protocols = {ability for ability, protocol in PROTOCOLS.items() if isinstance(harness, protocol)}
            there = sorted(set(self.excuses) & {*harness.failures, *places, *protocols})
            assert there == [], "the harness has what is excused: take it out of excuses"
