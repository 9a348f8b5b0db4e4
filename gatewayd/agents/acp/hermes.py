"""The known faults of Hermes 0.19, as measured.

A session/cancel while a permission is pending breaks the session: the prompt fails with a Python error, and from then on each
prompt is answered at once with "Queued for the next turn". Only a new process and session/load help.
"""

import re
from typing import Final

from gatewayd.agents.acp.wire import Implementation

FAULT: Final = "has broken its session (a known fault of Hermes): it is started again"

_BROKEN: Final = re.compile(r"'NoneType' object has no attribute 'startswith'")
_QUEUED: Final = re.compile(r"Queued for the next turn\. \(\d+ queued\)\s*")


def is_hermes(agent: Implementation | None) -> bool:
    return agent is not None and "hermes" in agent.name.lower()


def is_broken(error: str) -> bool:
    """Whether this error of a prompt says that the session is broken from now on."""
    return _BROKEN.search(error) is not None


def is_queued(text: str) -> bool:
    """Whether this reply says that the session is broken, and that the prompt was not run."""
    return _QUEUED.fullmatch(text) is not None
