"""The configuration: found, read, decoded strictly in two steps, and checked, with every problem reported at once."""

from gatewayd.config.load import load_config
from gatewayd.config.paths import SYSTEM_CONFIG, find_config, state_dir, state_dirs, user_config
from gatewayd.config.secret_sources import secrets_of

__all__ = ["SYSTEM_CONFIG", "find_config", "load_config", "secrets_of", "state_dir", "state_dirs", "user_config"]
