"""What makes no sense on the command line of contrib/simulate is said before anything runs."""

import sys

import pytest

from tests.simulation.__main__ import main


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--seeds", "0"], "argument --seeds: it must be 1 or more"),
        (["--jobs", "-1"], "argument --jobs: it must be 1 or more"),
        (["--minutes", "0"], "--minutes must be more than 0"),
        (["--with-bug", "nope"], "there is no planted bug 'nope'; there are: ack-before-commit, "),
        (["--by-seeds"], "--by-seeds goes with --planted or --with-bug"),
        (["--logs"], "--logs goes with --replay"),
    ],
)
def test_what_makes_no_sense_is_refused(
    args: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["simulate", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
