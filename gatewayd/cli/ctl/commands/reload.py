"""``gatewayctl reload``: make the daemon reload its configuration, and report the changes."""

import typer
from msgspec.structs import replace

from gatewayd.cli.ctl.commands.answer import print_answer
from gatewayd.cli.ctl.connection.options import Json, options_of
from gatewayd.cli.ctl.wording import clean, count
from gatewayd.model.operator_api import Request
from gatewayd.model.reload import Change, ReloadReport

_LONGEST_SECONDS = 45.0
"""The daemon reads for at most 30 s, and another reload may be running."""
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def reload(ctx: typer.Context, as_json: Json = False) -> None:
    """Apply the changes of the configuration file. Nothing else is touched.

    A configuration with a problem changes nothing: then every problem is printed, and the exit code is 1.
    """
    options = options_of(ctx)
    patient = replace(options, timeout=max(options.timeout, _LONGEST_SECONDS))
    print_answer(patient, "/v1/gateway/reload", ReloadReport, _lines, post=Request(), scope="admin", as_json=as_json)


def _lines(report: ReloadReport, now: float, width: int) -> list[str]:
    lines = [f"{clean(report.source or 'no file, the embedded default')}: {'in force' if report.applied else 'nothing to apply'}"]
    lines += [_line(change) for change in report.applied]
    lines += [f"  {_line(change).strip()}: NEEDS A RESTART, the old value is still in force" for change in report.needs_restart]
    untouched = [count(report.unchanged_accounts, "account"), count(report.unchanged_agents, "agent")]
    lines.append(f"  not touched: {' and '.join(untouched)}")
    if report.pending:
        lines.append(f"  still ending: {clean(', '.join(report.pending))}")
    return lines + [f"  warning: {clean(warning)}" for warning in report.warnings]


def _line(change: Change) -> str:
    keys = f" {', '.join(change.keys)}" if change.keys else ""
    effect = f": {change.effect}" if change.effect else ""
    return f"  {_SIGNS[change.kind]} {clean(change.table + keys + effect)}"
