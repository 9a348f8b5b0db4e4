"""The paths of the configuration file and of the state directory. Each function gets the environment as an argument.

XDG base directories: https://specifications.freedesktop.org/basedir-spec/latest/ (a relative path in such a variable is
ignored). $STATE_DIRECTORY and $CREDENTIALS_DIRECTORY: systemd.exec(5).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

SYSTEM_CONFIG: Final = Path("/etc/gatewayd/gatewayd.toml")
SYSTEM_STATE: Final = Path("/var/lib/gatewayd")


def find_config(chosen: str | Path | None, env: Mapping[str, str], *, system: Path = SYSTEM_CONFIG) -> Path | None:
    """The configuration file: ``chosen``, else $GATEWAYD_CONFIG, else the system's, else the user's that exists.

    A named file is returned even when it does not exist: the attempt to read it gives the error. None: there is no file, and the
    embedded default applies.
    """
    if chosen is not None:
        return Path(chosen)
    if named := env.get("GATEWAYD_CONFIG"):
        return Path(named)
    for candidate in (system, user_config(env)):
        if candidate is not None and _exists(candidate):
            return candidate
    return None


def user_config(env: Mapping[str, str]) -> Path | None:
    """The file of the user, $XDG_CONFIG_HOME/gatewayd/gatewayd.toml, whether or not it exists. None: the user has no home."""
    base = _xdg(env, "XDG_CONFIG_HOME", ".config")
    return None if base is None else base / "gatewayd" / "gatewayd.toml"


def state_dirs(chosen: str | Path | None, env: Mapping[str, str]) -> tuple[Path, ...]:
    """The possible state directories of a running daemon, the most likely first.

    Only one where ``chosen`` (command line or configuration), else $GATEWAYD_STATE_DIR, else $STATE_DIRECTORY (systemd; the
    first of a colon list) is set. Otherwise $XDG_STATE_HOME/gatewayd, then that of the system.
    """
    named = chosen or env.get("GATEWAYD_STATE_DIR") or env.get("STATE_DIRECTORY", "").partition(":")[0]
    if named:
        return (Path(named).absolute(),)
    base = _xdg(env, "XDG_STATE_HOME", ".local/state")
    return (SYSTEM_STATE,) if base is None else (base / "gatewayd", SYSTEM_STATE)


def state_dir(chosen: str | Path | None, env: Mapping[str, str]) -> Path:
    """The state directory of the daemon: the first of :func:`state_dirs`. It need not exist."""
    return state_dirs(chosen, env)[0]


def _xdg(env: Mapping[str, str], variable: str, under_home: str) -> Path | None:
    base = Path(env.get(variable, ""))
    if base.is_absolute():
        return base
    home = Path(env.get("HOME", ""))
    return home / under_home if home.is_absolute() else None


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # It exists and is not readable. The attempt to read it says so; to start with another configuration would be worse.
        return True
    return True
