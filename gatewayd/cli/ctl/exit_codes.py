"""The exit codes of gatewayctl, and the exceptions that end a command with one.

A wrong command line has 64 (EX_USAGE of sysexits.h), not 2 as in click: a monitoring script with a misspelt option must not
report that the daemon is down.
"""

OK = 0
FAILED = 1
UNREACHABLE = 2
USAGE = 64
INTERRUPTED = 130


class CtlError(Exception):
    """Ends the command with exit code ``code``. ``str(error)`` and ``hint`` go to stderr: what is wrong, what to do."""

    code = FAILED
    hint = ""


class OutputClosed(Exception):
    """The reader of stdout (head, less) closed it. Not an OSError: typer and rich end a broken pipe with exit code 1."""


class ApiError(CtlError):
    """gatewayd answered with an error."""


class ItemError(ApiError):
    """One item does not exist, or is in another state (404, 409). The other items of the order may still be done."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class TemporaryError(ApiError):
    """The daemon is too busy or stopping (429, 5xx). A command that follows the daemon waits; any other one ends."""


class Unreachable(CtlError):
    """No answer of gatewayd: it does not run, it cannot be found, or something else listens there."""

    code = UNREACHABLE


class IncompatibleResponse(Unreachable):
    """A response in the format of another release. A retry gives the same, so a command that waits out outages ends, too."""


class UsageError(CtlError):
    """The command line is wrong."""

    code = USAGE
