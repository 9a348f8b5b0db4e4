"""One request and its answer, printed: what most commands do."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from gatewayd.cli.ctl.connection.options import Options
from gatewayd.cli.ctl.wording import pretty_json
from gatewayd.model.config import Scope
from gatewayd.model.operator_api import Request

if TYPE_CHECKING:
    from rich.text import Text

T = TypeVar("T")


def print_answer(
    options: Options,
    path: str,
    kind: type[T],
    lines: "Callable[[T, float, int], Iterable[Text | str]]",
    *,
    scope: Scope,
    as_json: bool = False,
    params: Mapping[str, str] | None = None,
    post: Request | None = None,
) -> T:
    """GET, or POST of ``post``. Prints the body as JSON, or the ``lines`` of the decoded answer, which it returns.

    ``lines`` gets the answer, the daemon's Unix time and the width of the screen in cells. Between its lines it may print notes.
    """
    from gatewayd.cli.ctl.output.screen import console, print_lines, print_text

    with options.connect() as client:
        body = client.fetch("GET" if post is None else "POST", path, params=params, body=post, scope=scope)
        answer = client.decode(body, kind)
        now = client.now()
    if as_json:
        print_text(pretty_json(body))
    else:
        target = console()
        print_lines(lines(answer, now, target.width), on=target)
    return answer
