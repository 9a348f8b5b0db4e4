"""Opening, closing, and the sessions of a core."""

from pathlib import Path

import msgspec
import trio

from gatewayd.ports.agent import DescribesItself
from gatewayd.testing.agent_contract.core import STOPS_WITHIN_SECONDS, CoreContract
from gatewayd.testing.agent_contract.harness import HubTurn
from gatewayd.testing.manifest import PATIENCE, count_sockets


def children() -> int:
    """Processes that this one has started and that still run (Linux)."""
    return len(Path("/proc/thread-self/children").read_text().split())


class OpeningContract(CoreContract):
    async def test_opening_and_closing_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """A core is opened again after each failure and each reload. What one life leaves would pile up for weeks."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services):
                text, left = self.text_for(harness, "say", "hello"), set()
                for number in range(4):
                    async with self.opened(harness, services) as core:
                        await core.say(await core.core.new_session("key"), text, turn_id=f"turn-{number}")
                    # The first use may load what stays for good: resolvers, caches, a connection of the hub's HTTP client.
                    left.add((trio.lowlevel.current_statistics().tasks_living, count_sockets(), children()))
                assert len(left) == 1, "tasks, sockets and processes after each life"

    async def test_closing_in_the_middle_of_a_turn_is_quick(self, tmp_path: Path) -> None:
        """A reload or a restart of the agent may not wait for an agent that does nothing."""
        with trio.fail_after(PATIENCE + STOPS_WITHIN_SECONDS):
            async with self.ready(tmp_path) as (harness, services):
                async with self.opened(harness, services) as core:
                    turn = HubTurn(await core.core.new_session("key"), self.text_for(harness, "hang"))
                    running = core.start(turn)
                    await harness.wait_hanging()
                    await running.stop()
                    closing_at = trio.current_time()
                assert trio.current_time() - closing_at < STOPS_WITHIN_SECONDS
                await harness.wait_stopped()

    async def test_each_session_is_a_new_one(self, tmp_path: Path) -> None:
        """``/new`` begins another conversation under the same key. The hub keeps the id in the store, where it has to be text."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                made = [await core.core.new_session(key) for key in ("key", "key", "another key")]
        assert len(set(made)) == 3
        for session in made:
            assert 0 < len(session.encode()) <= 2048
            assert "\0" not in session

    async def test_a_session_remembers_and_another_does_not(self, tmp_path: Path) -> None:
        """A session is one conversation: what one person said there is not told to another."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                recall = self.text_for(harness, "recall")
                mine, other = [await core.core.new_session(key) for key in ("mine", "other")]
                await core.say(mine, self.text_for(harness, "say", "pomegranate"), turn_id="turn-1")
                assert "pomegranate" not in await core.say(other, recall, turn_id="turn-2")
                assert "pomegranate" in await core.say(mine, recall, turn_id="turn-3")

    async def test_facts_are_there_at_any_time(self, tmp_path: Path) -> None:
        """``gatewayctl agents`` shows them, also in the middle of a turn. They are sent as JSON."""
        with trio.fail_after(PATIENCE):
            async with self.ready(tmp_path) as (harness, services), self.opened(harness, services) as core:
                if isinstance(core.core, DescribesItself):
                    msgspec.json.encode(core.core.facts())
                    await core.say(await core.core.new_session("key"), self.text_for(harness, "say", "hello"))
                    msgspec.json.encode(core.core.facts())
