"""httpx2 for a short command: loaded without the event loops of its async client.

httpcore2 imports trio and anyio where they are installed, also for a synchronous client (``httpcore2/_synchronization.py``),
and works without them. They would be more than half of the cost of ``gatewayctl status``. A process that has imported them
keeps them.
"""

import importlib
import sys

_UNUSED = [name for name in ("trio", "anyio") if name not in sys.modules]
for _name in _UNUSED:
    sys.modules[_name] = None  # type: ignore[assignment]  # the documented way to make an import fail
try:
    import httpx2

    importlib.import_module("httpcore2")  # httpx2 itself would import it with the first client
finally:
    for _name in _UNUSED:
        del sys.modules[_name]

__all__ = ["httpx2"]
