"""Reload: another configuration is put in force while the daemon runs, as a whole or not at all.

The steps that can fail come first: reading, checking, loading plug-ins, and the entry in the audit log. Then every part takes the
configuration in one step of the event loop, so that nobody sees half of it. Accounts connect and turns end after that.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
import structlog

from gatewayd.hub.config_diff import Difference, difference, in_force
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.operations.health import RejectedReload
from gatewayd.model.config import GatewayConfig
from gatewayd.model.errors import ConfigError, Conflict, GatewayError, NeedsOperator, StoreRefused
from gatewayd.model.reload import ReloadReport

SETTLE_SECONDS: Final = 2.0
"""How long a reload waits for accounts and agents, before it reports them as pending."""
_ACTION: Final = "gateway.reload"

log = structlog.get_logger("gatewayd.reload")


class Reloader:
    """Runs one reload after the other. ``load`` reads and checks the configuration and its secrets, ``prepare`` does the other
    steps that can fail; neither changes the running daemon. ``began`` and ``ended`` are called around each reload."""

    def __init__(
        self,
        gateway: Gateway,
        load: Callable[[], Awaitable[GatewayConfig]],
        prepare: Callable[[GatewayConfig], Awaitable[None]],
        *,
        began: Callable[[], object] = lambda: None,
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        self._gateway = gateway
        self._load = load
        self._prepare = prepare
        self._began = began
        self._ended = ended
        self._one_at_a_time = anyio.Lock()

    async def reload(self, actor: str) -> ReloadReport:
        """Read the configuration and put the differences in force. Report them, and the accounts and agents that are pending.

        When this raises, nothing has changed; the problem ``config_refused`` shows why, until a reload succeeds.

        :raises ConfigError: with everything that is wrong in it.
        :raises Conflict: the daemon is not ready.
        :raises TryAgain: it could not be read in time.
        :raises NeedsOperator: the token file cannot be used, or a plug-in failed.
        :raises StoreRefused: the order could not be written into the audit log.
        """
        self._require_ready()
        async with self._one_at_a_time:
            self._require_ready()
            self._began()
            try:
                report = await self._reload(actor)
            except GatewayError as error:
                await self._note_refused(actor, error)
                raise
            finally:
                self._ended()
        return report

    async def _reload(self, actor: str) -> ReloadReport:
        gateway = self._gateway
        new = await self._read()
        found = difference(gateway.config, new)
        counts = {"applied": len(found.applied), "needs_restart": len(found.needs_restart)}
        async with gateway.audit.doing(actor, _ACTION, new.source or "default", **counts), self._adding(new):
            self._require_ready()
            gateway.configured.replace(in_force(gateway.config, new))
        gateway.note_refused(None)
        self._announce(found, new)
        with anyio.move_on_after(SETTLE_SECONDS):
            await gateway.manager.wait_reconciled()
            await gateway.agents.wait_reconciled()
        return ReloadReport(
            source=new.source,
            applied=found.applied,
            needs_restart=found.needs_restart,
            unchanged_accounts=found.same_accounts,
            unchanged_agents=found.same_agents,
            pending=(*gateway.manager.pending, *gateway.agents.pending),
            warnings=new.warnings,
        )

    async def _read(self) -> GatewayConfig:
        """The configuration, prepared. Code of plug-ins runs here: an error in it refuses the configuration and does not end the
        daemon."""
        try:
            new = await self._load()
            await self._prepare(new)
        except GatewayError:
            raise
        except Exception as error:
            log.error("configuration_load_crashed", exc_info=error)
            name = type(error).__name__
            raise NeedsOperator(f"the configuration could not be read, by a bug in a plug-in or in gatewayd ({name})") from error
        return new

    @asynccontextmanager
    async def _adding(self, new: GatewayConfig) -> AsyncIterator[None]:
        """Load the waiting rows of accounts that are added, and forget these if the reload fails. An account that is still
        closing has its rows."""
        outbox, manager = self._gateway.outbox, self._gateway.manager
        known = {(account.channel, account.account) for account in self._gateway.config.accounts}
        names = [(account.channel, account.account) for account in new.accounts]
        added: list[tuple[str, str]] = []

        def found_now() -> list[tuple[str, str]]:
            return [name for name in names if name not in known and name not in added and not manager.is_closing(*name)]

        try:
            # Again: a closing account may have closed while others were adopted.
            while found := found_now():
                added += found
                await outbox.adopt(found)
                await self._gateway.claim(found)
            yield
        except BaseException:
            for name in added:
                outbox.forget(*name)
            raise

    def _require_ready(self) -> None:
        if self._gateway.state != "ready":
            raise Conflict(f"the daemon is {self._gateway.state}: its configuration is not changed now")

    def _announce(self, found: Difference, new: GatewayConfig) -> None:
        for change in found.applied:
            log.info("configuration_changed", change=str(change))
        for change in found.needs_restart:
            log.warning("configuration_needs_restart", change=str(change))
        for warning in new.warnings:
            log.warning("configuration_warning", warning=warning)
        log.info("reloaded", source=new.source, applied=len(found.applied), needs_restart=len(found.needs_restart))
        self._gateway.events.emit("gateway.reloaded", applied=len(found.applied), needs_restart=len(found.needs_restart))

    async def _note_refused(self, actor: str, error: GatewayError) -> None:
        if isinstance(error, Conflict):
            return  # the configuration is not the cause
        reason = _in_one_line(error)
        log.error("reload_refused", reason=error.reason)
        self._gateway.note_refused(RejectedReload(self._gateway.now(), reason))
        self._gateway.events.emit("gateway.reload_refused", reason=reason)
        try:
            await self._gateway.audit.record(actor, f"{_ACTION}.refused", "configuration", reason=reason)
        except StoreRefused as refused:
            log.warning("audit_not_written", action=f"{_ACTION}.refused", reason=refused.reason)


def _in_one_line(error: GatewayError) -> str:
    if not isinstance(error, ConfigError):
        return error.reason
    first, *others = error.problems
    return f"{first}" + (f" (and {len(others)} more)" if others else "")
