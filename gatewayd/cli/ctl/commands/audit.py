"""``gatewayctl audit``: the actions of operators, and a check that the audit log is whole.

The command computes the chain of hashes itself. A daemon that returns a false log must falsify every entry from the first one on,
and then its head differs from a head that was kept elsewhere.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from gatewayd.cli.ctl.connection.options import Json, options_of
from gatewayd.cli.ctl.exit_codes import ApiError, UsageError
from gatewayd.cli.ctl.wording import clean, clock_time, pretty_json
from gatewayd.model.operator_api import AuditPage
from gatewayd.model.records.audit import BEGINNING, AuditHead, AuditRow, ChainBroken, verify

if TYPE_CHECKING:
    from gatewayd.cli.ctl.connection.client import Client

audit = typer.Typer(help="See the actions of operators, and check the audit log.", no_args_is_help=True, rich_markup_mode=None)

_PAGE = 1000
_HASH_LENGTH = 64


@audit.command("list")
def list_entries(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=_PAGE, help="At most so many entries.")] = 50,
    after: Annotated[
        int | None, typer.Option(metavar="SEQ", min=0, help="Entries after this number. [default: the newest]")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the actions of operators, the newest last."""
    from gatewayd.cli.ctl.output.screen import print_note, print_text

    with options_of(ctx).connect() as client:
        if after is None:
            head = client.decode(_fetch(client, 0, 1), AuditPage).head or BEGINNING
            after = max(0, head.seq - limit)
        body = _fetch(client, after, limit)
        page = client.decode(body, AuditPage)
    if as_json:
        print_text(pretty_json(body))
        return
    for entry in page.entries:
        said = "" if entry.detail == "{}" else clean(entry.detail, at_most=1000)
        who, subject = clean(entry.actor, at_most=100), clean(entry.subject)
        print_text(f"{entry.seq:>6}  {clock_time(entry.at)}  {who:<20}  {clean(entry.action):<20}  {subject}  {said}".rstrip())
    if not page.entries:
        print_note("the audit log is empty" if page.head is None else "there is nothing after that number")


@audit.command("verify")
def verify_chain(
    ctx: typer.Context,
    expect: Annotated[
        str | None, typer.Option(metavar="SEQ:HASH", help="A head that was printed before. It must still be in the log.")
    ] = None,
) -> None:
    """Check every entry against the one before, and print the head. Keep the head where the daemon cannot write."""
    from gatewayd.cli.ctl.output.screen import print_text

    wanted = None if expect is None else _parse_head(expect)
    head, found = BEGINNING, wanted == BEGINNING
    with options_of(ctx).connect() as client:
        try:
            for entry in _everything(client):
                head = verify((entry,), head)
                found = found or head == wanted
        except ChainBroken as broken:
            raise ApiError(
                f"The audit log is broken at {clean(broken.reason)}. The entries before it are whole, up to {head}. "
                "Compare it with a backup, and ask who could write to the store."
            ) from None
    if wanted is not None and not found:
        raise ApiError(_why_not_found(wanted, head))
    print_text("1 entry, whole" if head.seq == 1 else f"{head.seq} entries, whole")
    print_text(f"head {head}")


def _everything(client: "Client") -> Iterator[AuditRow]:
    """Every entry that existed at the request of the first page."""
    seen, last = 0, None
    while last is None or seen < last:
        page = client.decode(_fetch(client, seen, _PAGE), AuditPage)
        last = (page.head or BEGINNING).seq if last is None else last
        yield from page.entries
        if not page.entries:
            if seen < last:
                raise ApiError(f"The audit log ends after entry {seen}, but its newest is said to be {last}.")
            return
        seen = page.entries[-1].seq


def _fetch(client: "Client", after: int, limit: int) -> bytes:
    return client.fetch("GET", "/v1/audit", scope="approvals", params={"after": str(after), "limit": str(limit)})


def _parse_head(text: str) -> AuditHead:
    seq, _, digest = text.strip().partition(":")
    digest = digest.lower()
    is_hash = len(digest) == _HASH_LENGTH and set(digest) <= set("0123456789abcdef")
    if not is_hash or not (seq.isascii() and seq.isdecimal()) or len(seq) > 19:
        raise UsageError(f"--expect is SEQ:HASH as `gatewayctl audit verify` prints it after the word head, not {clean(text)!r}.")
    return AuditHead(int(seq), digest)


def _why_not_found(wanted: AuditHead, head: AuditHead) -> str:
    if head.seq < wanted.seq:
        return (
            f"The audit log has been cut: entry {wanted.seq} was there, and now it ends at {head.seq}. "
            "If the store was put back from a backup, that is why; otherwise ask who could write to it."
        )
    return (
        f"The audit log was rewritten: its entry {wanted.seq} does not have the hash {wanted.hash[:12]}… any more. "
        "Compare it with a backup, and ask who could write to the store."
    )
