"""Reloads on a real hub: all or nothing, one after the other, and a refusal gives its reason."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest
import trio
import trio.testing
from msgspec.structs import replace

from gatewayd.agents import echo
from gatewayd.channels.loopback.platform import platform_of
from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.hub.reload import Reloader
from gatewayd.model.config import (
    AccountSettings,
    AgentApprovals,
    AgentFrame,
    AgentSettings,
    AuthSection,
    BindingConfig,
    GatewayConfig,
    GatewaySection,
    LimitsSection,
    MatchConfig,
)
from gatewayd.model.errors import ConfigError, ConfigProblem, Conflict, GatewayError, NeedsOperator, StoreRefused, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.model.records.audit import AuditRow
from gatewayd.ports.store import OutboundDraft
from tests.web import attached, hook
from tests.web.site import ACCOUNTS, OPEN, Site, configuration, open_site

PROBLEMS = [
    ConfigProblem("[limits].bogus", "unknown key", "gatewayd.toml", 7),
    ConfigProblem("[gateway].bind", "is not HOST:PORT"),
]


class Bench:
    """A site, a reloader, and the configuration that it will read."""

    def __init__(self, site: Site, config: GatewayConfig) -> None:
        self.site = site
        self.gateway = site.gateway
        self.found: GatewayConfig | GatewayError = config
        self.before_load: Callable[[], None] = lambda: None
        self.loading = 0
        self.most_loading = 0
        self.told: list[str] = []
        self.reloader = Reloader(
            self.gateway,
            self._load,
            self._prepare,
            began=lambda: self.told.append("began"),
            ended=lambda: self.told.append("ended"),
        )

    async def _load(self) -> GatewayConfig:
        self.loading += 1
        self.most_loading = max(self.most_loading, self.loading)
        await trio.lowlevel.checkpoint()
        self.before_load()
        self.loading -= 1
        if isinstance(self.found, GatewayError):
            raise self.found
        return self.found

    async def _prepare(self, config: GatewayConfig) -> None:
        await trio.lowlevel.checkpoint()

    async def audited(self) -> list[AuditRow]:
        return [row for row in await self.gateway.audit.after(0, limit=1000) if row.action.startswith("gateway.")]

    def codes(self) -> list[str]:
        return [problem.code for problem in self.gateway.snapshot().problems]


@asynccontextmanager
async def open_bench(tmp_path: Path, config: GatewayConfig | None = None) -> AsyncIterator[Bench]:
    config = config or configuration()
    async with open_site(tmp_path, config) as site:
        bench = Bench(site, config)
        with trio.fail_after(30):
            yield bench


MORE = AccountSettings("loopback", "more", OPEN, LoopbackSettings(identity="@more"))
SHOUTING = AgentSettings("shouting", AgentFrame(), echo.EchoSettings())


async def test_nothing_is_done_where_nothing_differs(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        before = bench.gateway.manager.snapshot(), platform_of("main").opened
        bench.found = configuration()
        report = await bench.reloader.reload("operator:op")
        assert (report.applied, report.needs_restart, report.pending) == ((), (), ())
        assert (report.unchanged_accounts, report.unchanged_agents) == (len(ACCOUNTS), 1)
        assert (bench.gateway.manager.snapshot(), platform_of("main").opened) == before
        assert bench.told == ["began", "ended"]


async def test_what_differs_is_in_force_when_the_answer_comes(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        binding = BindingConfig(MatchConfig(account="more"), "shouting")
        old = configuration()
        bench.found = replace(
            old,
            accounts=(*ACCOUNTS[:1], MORE),
            agents=(*old.agents, SHOUTING),
            bindings=(binding,),
            limits=LimitsSection(inbox_backlog=7, mailbox=3),
        )
        report = await bench.reloader.reload("operator:op")
        assert [change.kind for change in report.applied] == [*["changed"] * 2, "added", *["removed"] * 4, "added", "changed"]
        assert (report.unchanged_accounts, report.unchanged_agents) == (1, 1)
        names = [f"{status.channel}/{status.account}" for status in bench.gateway.manager.snapshot()]
        assert names == ["loopback/main", "loopback/more"]
        assert bench.gateway.backlog.status().limit == 7
        platform = platform_of("more")
        await platform.say("hello", account="more")
        await platform.wait_until(lambda: platform.texts == ["hello"])
        assert bench.gateway.agents.status("shouting").turns == 1
        [entry] = await bench.audited()
        assert (entry.actor, entry.action) == ("operator:op", "gateway.reload")
        assert msgspec.json.decode(entry.detail) == {"applied": 9, "needs_restart": 0}


async def test_what_needs_a_restart_is_said_again_until_there_was_one(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        old = bench.gateway.config
        for drain in (7.0, 8.0):
            bench.found = replace(old, gateway=replace(old.gateway, bind="127.0.0.1:1", drain_seconds=drain))
            report = await bench.reloader.reload("operator:op")
            assert [change.keys for change in report.needs_restart] == [("bind",)]
            assert [change.keys for change in report.applied] == [("drain_seconds",)]
            assert (bench.gateway.config.gateway.bind, bench.gateway.config.gateway.drain_seconds) == (old.gateway.bind, drain)


async def test_a_refused_configuration_changes_nothing_and_is_shown_until_a_good_one_comes(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        before = bench.gateway.config
        bench.found = ConfigError(PROBLEMS)
        with pytest.raises(ConfigError) as refused:
            await bench.reloader.reload("operator:op")
        assert refused.value.problems == tuple(PROBLEMS)
        assert bench.gateway.config is before
        snapshot = bench.gateway.snapshot()
        [problem] = [problem for problem in snapshot.problems if problem.code == "config_refused"]
        assert (problem.level, snapshot.ready) == ("warning", True)
        assert "gatewayd.toml:7: [limits].bogus: unknown key (and 1 more)" in problem.text
        assert [entry.action for entry in await bench.audited()] == ["gateway.reload.refused"]
        bench.found = configuration()
        await bench.reloader.reload("operator:op")
        assert "config_refused" not in bench.codes()
        assert bench.told == ["began", "ended"] * 2


@pytest.mark.parametrize("error", [TryAgain("the file could not be read in time"), NeedsOperator("the token file is empty")])
async def test_whatever_refuses_it_changes_nothing(tmp_path: Path, error: GatewayError) -> None:
    async with open_bench(tmp_path) as bench:
        before = bench.gateway.config
        bench.found = error
        with pytest.raises(type(error)):
            await bench.reloader.reload("operator:op")
        assert bench.gateway.config is before
        assert "config_refused" in bench.codes()


async def test_a_plugin_that_breaks_while_it_is_read_refuses_it_and_ends_nothing(tmp_path: Path) -> None:
    def broken() -> None:
        raise ZeroDivisionError("of a third party")

    async with open_bench(tmp_path) as bench:
        before = bench.gateway.config
        bench.before_load = broken
        with pytest.raises(NeedsOperator, match="ZeroDivisionError"):
            await bench.reloader.reload("signal:SIGHUP")
        assert bench.gateway.config is before
        assert "config_refused" in bench.codes()
        assert bench.told == ["began", "ended"]


async def test_what_could_not_be_audited_is_not_done(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        before = bench.gateway.config
        bench.site.fill_disk()
        refused = False
        while not refused:  # what fits into the pages there are is still written
            try:
                await bench.reloader.reload("operator:op")
            except StoreRefused:
                refused = True
        assert "config_refused" in bench.codes()
        in_force = bench.gateway.config
        bench.found = replace(before, accounts=(*before.accounts, MORE))
        with pytest.raises(StoreRefused):
            await bench.reloader.reload("operator:op")
        assert bench.gateway.config is in_force


async def test_two_at_once_go_one_after_the_other(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        turns = iter(range(1, 6))

        def next_one() -> None:
            bench.found = replace(bench.gateway.config, limits=LimitsSection(turns=next(turns)))

        bench.before_load = next_one
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(bench.reloader.reload, "operator:op")
        assert (bench.most_loading, bench.gateway.config.limits.turns) == (1, 5)
        assert bench.told == ["began", "ended"] * 5
        assert len(await bench.audited()) == 5


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_daemon_that_stops_reloads_nothing(tmp_path: Path, when: str) -> None:
    async with open_bench(tmp_path) as bench:
        before = bench.gateway.config
        bench.found = replace(before, accounts=())

        def stop() -> None:
            bench.gateway.enter("draining")

        if when == "before":
            stop()
        else:
            bench.before_load = stop
        with pytest.raises(Conflict, match="draining"):
            await bench.reloader.reload("operator:op")
        assert bench.gateway.config is before
        assert "config_refused" not in bench.codes()


async def test_a_caller_who_leaves_leaves_no_half(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        with trio.CancelScope() as scope:
            bench.before_load = scope.cancel
            bench.found = replace(bench.gateway.config, accounts=())
            await bench.reloader.reload("operator:op")
        assert len(bench.gateway.config.accounts) == len(ACCOUNTS)
        bench.before_load = lambda: None
        assert (await bench.reloader.reload("operator:op")).unchanged_accounts == 0
        assert bench.gateway.manager.snapshot() == ()


async def test_messages_flow_while_it_reloads_and_none_is_lost_or_doubled(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        platform, old = platform_of("main"), bench.gateway.config
        said = [f"m{number}" for number in range(60)]

        async def reload_again_and_again() -> None:
            for number in range(12):
                accounts = (*ACCOUNTS, MORE) if number % 2 else ACCOUNTS[:1]
                policy = AgentApprovals(quorum=1 + number % 2)
                agents = (AgentSettings("assistant", AgentFrame(approvals=policy), echo.EchoSettings()),)
                bench.found = replace(old, accounts=accounts, agents=agents, limits=LimitsSection(turns=1 + number))
                await bench.reloader.reload("operator:op")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reload_again_and_again)
            for text in said:
                await platform.say(text)
        await platform.wait_until(lambda: len(platform.texts) >= len(said))
        assert list(platform.texts) == said
        assert platform.opened == 1
        assert bench.gateway.snapshot().outbox.dead == 0


async def test_rows_that_wait_for_an_account_are_counted_and_sent_when_it_comes(tmp_path: Path) -> None:
    draft = OutboundDraft("loopback", "more", "loopback:more:dm:alice", SendText(Peer("dm", "alice"), RichText("late")))
    both, one = configuration(accounts=(*ACCOUNTS[:1], MORE)), configuration(accounts=ACCOUNTS[:1])
    async with open_site(tmp_path, both) as site:
        await site.gateway.manager.stop("loopback", "more")
        await site.gateway.outbox.write([draft])
    async with open_bench(tmp_path, one) as bench:
        outbox = bench.gateway.outbox
        assert outbox.depth("loopback", "more") == 0, "nobody counts what is nobody's"
        bench.found = both
        bench.before_load = lambda: bench.gateway.enter("draining")
        with pytest.raises(Conflict):
            await bench.reloader.reload("operator:op")
        assert outbox.depth("loopback", "more") == 0
        bench.gateway.enter("ready")
        bench.before_load = lambda: None
        platform_of("more").on_listen.next(trio.sleep_forever)
        await bench.reloader.reload("operator:op")
        assert outbox.depth("loopback", "more") == 1
        await bench.gateway.manager.restart("loopback", "more")
        await platform_of("more").wait_until(lambda: platform_of("more").texts == ["late"])


@pytest.mark.parametrize("steps", range(0, 12, 3))
async def test_rows_are_counted_of_an_account_that_goes_while_it_comes_again(tmp_path: Path, steps: int) -> None:
    """The account has gone at any step of the reload that adds it again, together with another one."""
    both, one = configuration(accounts=(*ACCOUNTS[:1], MORE)), configuration(accounts=ACCOUNTS[:1])
    third = replace(MORE, account="third", settings=LoopbackSettings(identity="@third"))
    drafts = [
        OutboundDraft("loopback", "more", "loopback:more:dm:alice", SendText(Peer("dm", "alice"), RichText(text)))
        for text in ("under way", "waits")
    ]
    async with open_bench(tmp_path, both) as bench:
        outbox, gone, platform = bench.gateway.outbox, anyio.Event(), platform_of("more")
        platform.before_send.next(gone.wait)
        await outbox.write(drafts)
        await trio.testing.wait_all_tasks_blocked(0.001)
        bench.gateway.configured.replace(one)
        assert bench.gateway.manager.is_closing("loopback", "more")
        platform.on_listen.next(trio.sleep_forever)
        gone.set()
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        bench.found = replace(both, accounts=(*both.accounts, third))
        await bench.reloader.reload("operator:op")
        assert outbox.depth("loopback", "more") == 1


async def test_a_part_that_fails_leaves_every_part_as_it_was(tmp_path: Path) -> None:
    class Broken:
        def reconfigure(self, config: GatewayConfig) -> None:
            if config.limits.turns == 7:
                raise ZeroDivisionError

    async with open_bench(tmp_path) as bench:
        bench.gateway.configured.follow(Broken().reconfigure)
        before = bench.gateway.config
        bench.found = replace(before, accounts=(*ACCOUNTS[:1], MORE), limits=LimitsSection(turns=7))
        with pytest.raises(ZeroDivisionError):
            await bench.reloader.reload("operator:op")
        await bench.gateway.manager.wait_reconciled()
        assert bench.gateway.config is before
        assert len(bench.gateway.manager.snapshot()) == len(ACCOUNTS)
        assert platform_of("more").opened == 0
        assert platform_of("main").opened == 1


async def test_another_public_url_reopens_what_has_webhooks_and_nothing_else(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        before = bench.site.hook()
        section = replace(bench.gateway.config.gateway, public_url="https://bots.example.org")
        bench.found = replace(bench.gateway.config, gateway=section)
        await bench.reloader.reload("operator:op")
        restarts = {f"{s.channel}/{s.account}": s.restarts for s in bench.gateway.manager.snapshot()}
        assert restarts == {"loopback/main": 0, "loopback/off": 0, "loopback/strict": 0, "hook/main": 1, "hook/plain": 1}
        while bench.gateway.manager.account("hook", "main").channel is None:
            await trio.lowlevel.checkpoint()
        assert bench.site.hook() is not before


async def test_a_secret_that_was_replaced_opens_no_webhook_while_sends_go_on(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench, bench.site.client(None) as client:

        async def post(key: str, secret: str) -> int:
            headers = {"X-Hook-Secret": secret}
            return (await client.post("/v1/webhooks/hook/main", json={"key": key}, headers=headers)).status_code

        old = bench.site.hook()
        old.on_send = trio.Event()
        draft = OutboundDraft("hook", "main", "hook:main:dm:7", SendText(Peer("dm", "7"), RichText("on its way")))
        await bench.gateway.outbox.write([draft])
        while not old.sending:
            await trio.lowlevel.checkpoint()
        assert await post("before", hook.SECRET) == 200
        secret = "another-secret-of-the-hook"
        accounts = [account for account in ACCOUNTS if (account.channel, account.account) != ("hook", "main")]
        renewed = AccountSettings("hook", "main", OPEN, hook.HookSettings(secret=secret))
        bench.found = replace(bench.gateway.config, accounts=(*accounts, renewed))
        report = await bench.reloader.reload("operator:op")
        assert report.pending == ("hook/main",)
        assert await post("meanwhile", hook.SECRET) == 503
        old.on_send.set()
        await bench.gateway.manager.wait_reconciled()
        while bench.gateway.manager.account("hook", "main").channel is None:
            await trio.lowlevel.checkpoint()
        assert await post("after", secret) == 200
        assert await post("late", hook.SECRET) == 401
        found = [await bench.site.store.find_inbound("hook", "main", key) for key in ("before", "meanwhile", "after", "late")]
        assert [row is not None for row in found] == [True, False, True, False]


async def test_an_agent_that_goes_has_its_time_and_then_another_one_takes_its_turn(tmp_path: Path) -> None:
    slow = AgentSettings("slow", AgentFrame(), echo.EchoSettings(word_delay_seconds=60.0))
    async with open_bench(tmp_path, configuration(agents=(slow,))) as bench:
        platform, gateway = platform_of("main"), bench.gateway
        first, second = platform.message("one two"), platform.message("three")
        for envelope in (first, second):
            await platform.inject(envelope).wait()
        while not gateway.agents.status("slow").running:
            await trio.lowlevel.checkpoint()
        section = replace(gateway.config.gateway, drain_seconds=0.3)
        bench.found = replace(gateway.config, agents=(SHOUTING,), gateway=section)
        report = await bench.reloader.reload("operator:op")
        assert report.pending == ()
        assert [status.agent for status in gateway.agents.snapshot()] == ["shouting"]
        await platform.wait_until(lambda: platform.texts == ["one two", "three"])
        rows = [await gateway.store.get_inbound(number) for number in (1, 2)]
        assert [(row.state, row.attempts) for row in rows if row is not None] == [("done", 2), ("done", 1)]
        assert gateway.snapshot().problems == ()


async def test_an_agent_with_other_settings_is_opened_anew_when_its_turn_has_ended(tmp_path: Path) -> None:
    quick = AgentSettings("assistant", AgentFrame(), echo.EchoSettings(word_delay_seconds=0.3))
    async with open_bench(tmp_path, configuration(agents=(quick,))) as bench:
        platform, gateway = platform_of("main"), bench.gateway
        await platform.say("one two three four")
        while not gateway.agents.status("assistant").running:
            await trio.lowlevel.checkpoint()
        before = gateway.agents.open_core("assistant")
        bench.found = configuration()
        await bench.reloader.reload("operator:op")
        await platform.say("five")
        await platform.wait_until(lambda: platform.texts == ["one two three four", "five"])
        assert gateway.agents.open_core("assistant") is not before
        row = await gateway.store.get_inbound(1)
        assert row is not None
        assert row.attempts == 1, "the turn that ran has ended by itself"


async def test_another_kind_of_core_under_the_same_name_begins_a_new_session(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        platform, gateway = platform_of("main"), bench.gateway
        await platform.say("one")
        await platform.wait_until(lambda: platform.texts == ["one"])
        other = AgentSettings("assistant", AgentFrame(core=attached.PLUGIN.id), attached.AttachedSettings())
        for expected, config in (("echo", configuration()), (attached.PLUGIN.id, configuration(agents=(other,)))):
            bench.found = config
            await bench.reloader.reload("operator:op")
            await platform.say("again")
            await gateway.backlog.wait_ended(gateway.inbox.received)
            row = await gateway.store.get_inbound(gateway.inbox.received)
            assert row is not None
            session = await gateway.store.get_session(row.session_key or "")
            assert session is not None
            assert (session.core, session.generation) == (expected, 1 if expected == "echo" else 2)


async def test_hosts_are_let_in_by_the_new_configuration(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench, bench.site.client() as client:
        asked = {"Host": "gate.example.org"}
        assert (await client.get("/v1/gateway/status", headers=asked)).status_code == 421
        section = replace(bench.gateway.config.gateway, allowed_hosts=("gate.example.org",))
        bench.found = replace(bench.gateway.config, gateway=section)
        await bench.reloader.reload("operator:op")
        assert (await client.get("/v1/gateway/status", headers=asked)).status_code == 200


async def test_a_token_that_was_taken_away_lets_nobody_in(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench, bench.site.client("read") as client:
        assert (await client.get("/v1/gateway/status")).status_code == 200
        tokens = {name: token for name, token in bench.gateway.config.auth.tokens.items() if name != "read"}
        bench.found = replace(bench.gateway.config, auth=AuthSection(tokens=tokens))
        await bench.reloader.reload("operator:op")
        assert (await client.get("/v1/gateway/status")).status_code == 401


def test_the_default_configuration_has_no_file() -> None:
    assert GatewayConfig(gateway=GatewaySection()).source is None
