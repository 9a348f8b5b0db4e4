"""How a command ends: the exit codes, and the errors that carry one.

64 for a wrong command line (EX_USAGE of sysexits.h) and not click's 2, so that a monitoring script with a misspelt option does
not report a daemon that is down.
"""

DONE = 0
BAD_ANSWER = 1
UNREACHABLE = 2
USAGE = 64
INTERRUPTED = 130


class CtlError(Exception):
    """Ends the command. ``str(error)`` is one or two sentences for stderr, the last one saying what to do next."""

    code = BAD_ANSWER


class ReaderLeft(Exception):
    """Who reads our output (head, less) has enough. Not an OSError: of a broken pipe typer and rich make the exit code 1."""


class Refused(CtlError):
    """gatewayd answered, and the answer is no."""


class Declined(Refused):
    """This one thing is not there, or not as it was thought to be; others may be."""


class NotNow(Refused):
    """The daemon is too busy or stopping: those who follow it wait, others are told to come back."""


class Unreachable(CtlError):
    """No answer of gatewayd: it does not run, cannot be found, asked or understood, or something else listens there."""

    code = UNREACHABLE


class Misunderstood(Unreachable):
    """An answer in the form of another release. Asking again gives the same, so it ends also who waits out outages."""


class Misused(CtlError):
    """The command line makes no sense."""

    code = USAGE
