"""The sources of secrets: a file, an environment variable, or a systemd credential. A secret is never in the configuration
itself.

The value of a secret's key may be the secret, pasted into the wrong place. So no message repeats it, except where it is clearly a
name. Credentials: systemd.exec(5), LoadCredential= and $CREDENTIALS_DIRECTORY.
"""

import codecs
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from gatewayd.config.describe import SOURCES_OF_SECRETS
from gatewayd.config.problems import Problems, listed
from gatewayd.config.source import KeyPath
from gatewayd.model.config import GatewayConfig
from gatewayd.model.secret import SHORTEST_SECRET, MaybeSecret, Secret

MAX_BYTES: Final = 65_536
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLAINLY_A_VARIABLE: Final = re.compile(r"[A-Z]{1,20}(_[A-Z0-9]{1,20})*\Z")
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}\Z")


class SecretReader:
    """Reads the secrets of one configuration, and adds each value to ``problems.redactor`` at once.

    A relative path in ``{ file = … }`` begins at ``folder``, the folder of the configuration file.
    """

    def __init__(self, problems: Problems, env: Mapping[str, str], folder: Path) -> None:
        self._problems = problems
        self._env = env
        self._folder = folder

    def read(self, value: object, key: KeyPath) -> Secret | None:
        """The secret that ``value`` names. None: there is a problem."""
        match value:
            case {"file": str(name), **rest} if not rest:
                text = self._from_file(name, key)
            case {"env": str(name), **rest} if not rest:
                text = self._from_env(name, key)
            case {"credential": str(name), **rest} if not rest:
                text = self._from_credential(name, key)
            case str(text):
                # The same text may be in another key, whose value is shown.
                self._problems.redactor.add(Secret(text))
                cure = "a secret must not be in this file: put it into a file that only gatewayd can read, and name that file"
                self._problems.add(key, cure, found="a text (not shown)", allowed=SOURCES_OF_SECRETS)
                return None
            case _:
                self._problems.add(key, "is not a source of a secret", allowed=SOURCES_OF_SECRETS)
                return None
        return None if text is None else self._take(text, key)

    def _take(self, text: str, key: KeyPath) -> Secret | None:
        secret = Secret(text.rstrip("\r\n"))
        self._problems.redactor.add(secret)
        if not text.strip():
            self._problems.add(key, "the secret is empty", plain=True)
            return None
        if len(secret.reveal()) < SHORTEST_SECRET:
            self._problems.add(key, f"the secret is shorter than {SHORTEST_SECRET} characters", plain=True)
            return None
        return secret

    def _from_env(self, name: str, key: KeyPath) -> str | None:
        if not _VARIABLE.match(name):
            self._problems.add(key, "env is not the name of an environment variable (not shown: it may be the secret itself)")
            return None
        text = self._env.get(name)
        if text is None:
            shown = f"${name}" if _PLAINLY_A_VARIABLE.match(name) else "that is named"
            self._problems.add(key, f"the environment variable {shown} is not set")
        return text

    def _from_file(self, name: str, key: KeyPath) -> str | None:
        if not name or "\0" in name:
            self._problems.add(key, "file is not a path")
            return None
        path = self._folder / name
        # A pasted token looks like a relative path, so only an absolute path is repeated.
        shown = str(path) if name.startswith("/") else f"(named relative to {self._folder})"
        return self._load(path, f"the secret's file {shown}", key)

    def _from_credential(self, name: str, key: KeyPath) -> str | None:
        folder = self._env.get("CREDENTIALS_DIRECTORY")
        if not folder:
            self._problems.add(key, "$CREDENTIALS_DIRECTORY is not set: systemd gives credentials (LoadCredential= in the unit)")
            return None
        given = _names_in(Path(folder))
        if name not in given or not _CREDENTIAL.match(name):
            self._problems.add(key, "systemd gave no credential of this name", allowed=listed(given))
            return None
        return self._load(Path(folder) / name, f'the credential "{name}"', key)

    def _load(self, path: Path, what: str, key: KeyPath) -> str | None:
        try:
            # O_NONBLOCK: opening a FIFO must not wait for its writer.
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                if not stat.S_ISREG(mode):
                    self._problems.add(key, f"{what} is not a regular file")
                    return None
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            self._problems.add(key, f"{what} cannot be read: {error.strerror or 'error'}")
            return None
        if len(data) > MAX_BYTES:
            self._problems.add(key, f"{what} is larger than {MAX_BYTES} bytes")
            return None
        if mode & stat.S_IROTH:
            self._problems.warn(key, f"{what} can be read by every user of this machine: chmod 600")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            self._problems.add(key, f"{what} is {'UTF-16 text: save it as UTF-8' if is_utf16 else 'not UTF-8 text'}")
            return None


def secrets_of(config: GatewayConfig) -> Iterator[Secret]:
    """Every secret of the configuration, for the redaction of logs."""
    waiting: list[object] = [config]
    while waiting:
        match waiting.pop():
            case Secret() as secret:
                yield secret
            case MaybeSecret(value=value):
                waiting.append(value)
            case Struct() as struct:
                waiting.extend(getattr(struct, name) for name in struct.__struct_fields__)
            case dict() as table:
                waiting.extend(table.values())
            case list() | tuple() | set() | frozenset() as items:
                waiting.extend(items)
            case _:
                pass


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))[:50]
    except OSError:
        return []
