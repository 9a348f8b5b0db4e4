"""Everything a run draws from comes from its seed: Trio's scheduler, and the ids and secrets that the daemon makes."""

import gc
import random
import secrets
import string
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from trio._core import _run as trios_own

_URL_SAFE = string.ascii_letters + string.digits + "-_"


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Inside, ``trio.run`` is a function of the seed and of its arguments.

    What is left to the caller is PYTHONHASHSEED, which an interpreter reads once, at its start. The collector is off: when
    it runs depends on what the process did before.
    """
    drawn = random.Random(f"secrets of {seed}")
    with ExitStack() as stack:
        for name, replacement in _drawing(drawn).items():
            stack.enter_context(mock.patch.object(secrets, name, replacement))
        stack.enter_context(mock.patch.object(uuid, "uuid4", _uuids(drawn)))
        stack.enter_context(mock.patch.object(trios_own, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True))
        before = trios_own._r.getstate()
        trios_own._r.seed(f"scheduler of {seed}")
        was_on = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            trios_own._r.setstate(before)
            if was_on:
                gc.enable()


def _drawing(drawn: random.Random) -> dict[str, Callable[..., Any]]:
    return {
        "token_bytes": lambda size=32: drawn.randbytes(size),
        "token_hex": lambda size=32: drawn.randbytes(size).hex(),
        "token_urlsafe": lambda size=32: "".join(drawn.choices(_URL_SAFE, k=size * 4 // 3)),
        "choice": drawn.choice,
        "randbelow": drawn.randrange,
    }


def _uuids(drawn: random.Random) -> Callable[[], uuid.UUID]:
    return lambda: uuid.UUID(int=drawn.getrandbits(128), version=4)
