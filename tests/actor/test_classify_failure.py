"""What the supervisor does about an error."""

from gatewayd.actor.supervisor import classify_failure
from gatewayd.model.errors import NeedsOperator, SendRejected, StoreRefused, TryAgain


def test_the_strictest_cure_in_a_group_wins() -> None:
    operator, bug, outage = NeedsOperator("token revoked"), KeyError("x"), TryAgain("no route")
    assert classify_failure(ExceptionGroup("", [outage, ExceptionGroup("", [bug, operator])])).action == "park"
    assert classify_failure(ExceptionGroup("", [outage, bug])).action == "restart"
    assert classify_failure(ExceptionGroup("", [outage, TryAgain("also", after_seconds=9)])).after_seconds == 9
    assert classify_failure(ExceptionGroup("", [outage, outage])).reason == "no route"


def test_a_store_that_refuses_is_an_outage_and_parks_nobody() -> None:
    verdict = classify_failure(ExceptionGroup("", [StoreRefused("the disk is full"), TryAgain("no route", after_seconds=9)]))
    assert (verdict.action, verdict.reason, verdict.after_seconds) == ("wait", "the disk is full; no route", 9)
    assert classify_failure(ExceptionGroup("", [StoreRefused("the disk is full"), KeyError("x")])).action == "restart"


def test_any_other_error_is_a_bug_also_one_of_ours() -> None:
    assert classify_failure(SendRejected("blocked")).action == "restart"
    assert classify_failure(ValueError("bad")).reason == "bug: ValueError: bad"


def test_a_reason_is_one_short_line_without_secrets() -> None:
    def redact(text: str) -> str:
        return text.replace("hunter2", "…")

    reason = classify_failure(ValueError("GET https://x/bothunter2/me\n" + "y" * 1000), redact).reason
    assert reason.startswith("bug: ValueError: GET https://x/bot…/me yyy")
    assert len(reason) <= 250
    assert "hunter2" not in classify_failure(TryAgain("cannot reach /bothunter2"), redact).reason
    assert "hunter2" not in classify_failure(NeedsOperator("401 for hunter2"), redact).reason


def test_an_error_that_cannot_be_printed_is_still_named() -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert classify_failure(Unprintable()).reason == "bug: Unprintable"
