"""Signals at the start, in a process of its own: what they do to this one would be felt by the others."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal
from gatewayd.process.signals import defer_hangups
BEFORE
with defer_hangups() as hangup_received:
    before = hangup_received()
    os.kill(os.getpid(), signal.SIGHUP)
    print(before, hangup_received(), flush=True)
os.kill(os.getpid(), signal.SIGHUP)
print("lives")
"""


@pytest.mark.parametrize(
    ("before", "said", "code"),
    [
        ("", "False True\n", -1),
        ("signal.signal(signal.SIGHUP, signal.SIG_IGN)", "False False\nlives\n", 0),
    ],
    ids=["service", "nohup"],
)
def test_a_hang_up_before_anybody_watches_is_remembered_and_ends_nothing(before: str, said: str, code: int) -> None:
    command = [sys.executable, "-c", SCRIPT.replace("BEFORE", before or "signal.signal(signal.SIGHUP, signal.SIG_DFL)")]
    # A session of its own has no terminal.
    done = subprocess.run(command, start_new_session=True, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == (said, code), done.stderr
