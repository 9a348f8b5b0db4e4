"""``python -m gatewayd`` is the ``gatewayd`` command."""

import sys

from gatewayd.cli.gatewayd import main

sys.exit(main())
