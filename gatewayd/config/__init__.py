"""The configuration: the search for its file, its strict decoding in two steps, and the checks, which report every problem at
once.

What a reload changes does not belong here (gatewayd/hub/reload.py), and neither do the structs (gatewayd/model/config.py).
"""

from gatewayd.config.load import load_config
from gatewayd.config.paths import SYSTEM_CONFIG, find_config, state_dir, state_dirs, user_config
from gatewayd.config.secret_sources import secrets_of

__all__ = ["SYSTEM_CONFIG", "find_config", "load_config", "secrets_of", "state_dir", "state_dirs", "user_config"]
