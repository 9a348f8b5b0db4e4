"""Opens a store and closes it again: ``python -m tests.stores.sqlite.engine.opener STATE_DIR``. Prints its peak of memory,
in MiB."""

import re
import sys
from pathlib import Path

from gatewayd.stores.sqlite.engine.files import open_files

if __name__ == "__main__":
    open_files(Path(sys.argv[1])).close()
    [kib] = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    print(int(kib) // 1024)  # noqa: T201
