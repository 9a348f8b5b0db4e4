"""Finds shell variables in the configuration. gatewayd does not expand them: an address or a path would be used as it is."""

import os
import re
from collections.abc import Iterator
from typing import Final

from gatewayd.config.problems import Problems
from gatewayd.config.source import KeyPath

_VARIABLE: Final = re.compile(r"\$(?:\{[^{}]*\}|[A-Za-z_][A-Za-z0-9_]*)")
_LITERAL: Final = frozenset({"system_prompt", "input", "tool"})
"""Keys whose texts are for a model, or are compared with the input of a tool: a $ in them is meant."""
_SHELLS: Final = frozenset({"sh", "ash", "bash", "dash", "fish", "ksh", "zsh", "busybox", "cmd", "cmd.exe", "pwsh", "powershell"})
_CURE: Final = (
    "has a variable ($NAME or ${NAME}), and variables are not expanded here: write the value itself; a secret comes from "
    '{ env = "NAME" }'
)


def check_unexpanded(problems: Problems, table: object) -> None:
    """Add a hint for every text with a variable. The text is not shown: it may be more than a name."""
    for key, text in _texts(table, ()):
        if _VARIABLE.search(text):
            problems.hint(key[:-1] if key[-1] == "file" else key, _CURE)  # the problem is at the key of the secret


def _texts(value: object, key: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if key and key[-1] in _LITERAL:
        return
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, (*key, name))
    elif isinstance(value, list) and not _is_shell_command(value):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*key, index))


def _is_shell_command(words: list[object]) -> bool:
    """A command that a shell runs, directly or in a container."""
    return any(isinstance(word, str) and os.path.basename(word) in _SHELLS for word in words)
