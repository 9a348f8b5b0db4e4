"""What a person reads of a message: Discord's markdown as its apps show it, as far as the driver writes it."""

import re

_TOKEN = re.compile(
    r"\\(?P<escaped>[^0-9A-Za-z\s])|\[(?P<words>(?:\\.|[^\]\\])*)\]\(<(?P<target>[^<>]*)>\)|<(?P<url>https?://[^<>\s]*)>"
    r"|(?P<mark>\*{1,3}|~~|``? ?| ?``?)",
    re.DOTALL,
)


def plain_of(content: str) -> str:
    """The words, without marks. Code blocks and code in a line are read as they are."""
    parts = re.split(r"(```[^\n`]*\n.*?\n```|``\s.*?\s``|(?<!\\)`[^`]+`)", content, flags=re.DOTALL)
    return "".join(_code(part) if number % 2 else _words(part) for number, part in enumerate(parts)).strip()


def _code(part: str) -> str:
    if part.startswith("```"):
        return part.partition("\n")[2].removesuffix("```").strip("\n").replace("`\u200b", "`") + "\n"
    return part[3:-3] if part.startswith("``") else part[1:-1]


def _words(part: str) -> str:
    def shown(found: re.Match[str]) -> str:
        if found["escaped"] is not None:
            return found["escaped"]
        if found["words"] is not None:
            return _words(found["words"])
        return found["url"] or ""

    return _TOKEN.sub(shown, re.sub(r"^> ", "", part, flags=re.MULTILINE))
