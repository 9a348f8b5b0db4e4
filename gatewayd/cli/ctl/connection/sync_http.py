"""httpx2 for a command that ends at once: loaded without the event loops that its async client would use.

httpcore2 imports trio and anyio where they are installed, also for a synchronous client (``httpcore2/_synchronization.py``), and
does without them where they are not. They are more than half of what ``gatewayctl status`` would cost. A process that has them
already keeps them.
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
