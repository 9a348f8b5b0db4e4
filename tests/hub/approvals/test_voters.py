"""Votes as a pure function of a request: who counts, when it is decided, and what a yes for the session covers."""

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewayd.hub.voters import Voters, inputs_covered
from gatewayd.model.records.approval import Approval, Scope, SessionGrant, Vote
from gatewayd.ports.store import ANY_INPUT
from gatewayd.testing.store_contract.rows import approval

# Two people with two identities each, and two that nobody knows.
PEOPLE: Final = {"ann": ("tg:1", "operator:ann"), "bob": ("tg:2", "operator:bob")}
IDENTITIES: Final = ("tg:1", "operator:ann", "tg:2", "operator:bob", "tg:3", "operator:eve")
NOBODY_KNOWN: Final = Voters({})
KNOWN: Final = Voters(PEOPLE)
votes = st.lists(
    st.builds(Vote, st.sampled_from(IDENTITIES), st.booleans(), st.just(5.0), st.sampled_from(["once", "session"])), max_size=8
)
grants = st.sampled_from(["off", "input", "tool"])


def asked(*, quorum: int = 1, grant: SessionGrant = "off") -> Approval:
    return replace(approval(1), quorum=quorum, session_grant=grant)


def cast(row: Approval, by: str, *, allow: bool = True, scope: Scope = "once", voters: Voters = NOBODY_KNOWN) -> Approval:
    voted = voters.cast(row, Vote(by, allow, 5.0, scope, f"{by} says so"))
    assert voted is not None
    return voted.row


def test_a_vote_is_kept_with_all_that_it_says() -> None:
    vote = Vote("tg:1", True, 5.0, "once", "go on", inbound_id=3)
    voted = NOBODY_KNOWN.cast(asked(), vote)
    assert voted is not None
    expected = replace(asked(), state="allowed", decided_at=5.0, decided_by="tg:1", note="go on", votes=(vote,))
    assert (voted.row, voted.grants) == (expected, ())


def test_a_quorum_is_of_different_voters() -> None:
    row = asked(quorum=3)
    for by in ("tg:1", "tg:2"):
        row = cast(row, by)
        assert (row.state, row.decided_at) == ("pending", None)
        assert NOBODY_KNOWN.cast(row, Vote(by, True, 5.0)) is None
        assert NOBODY_KNOWN.cast(row, Vote(by, False, 5.0)) is None, "nor is a yes taken back"
    row = cast(row, "operator:me")
    assert (row.state, row.decided_by) == ("allowed", "tg:1 and tg:2 and operator:me")


def test_votes_count_by_whose_they_are_now() -> None:
    assert KNOWN.cast(cast(asked(quorum=2), "tg:1"), Vote("operator:ann", True, 5.0)) is None, "they have become one person"
    row = cast(cast(asked(quorum=3), "tg:1"), "operator:ann")
    row = cast(row, "operator:bob", voters=KNOWN)
    assert row.state == "pending", "three votes of two people"
    assert cast(row, "operator:eve").state == "allowed"


def test_one_no_denies() -> None:
    row = cast(cast(asked(quorum=3), "tg:1"), "tg:2", allow=False)
    assert (row.state, row.decided_by, row.note) == ("denied", "tg:2", "tg:2 says so")


@pytest.mark.parametrize(("grant", "hashes"), [("off", ()), ("input", ("abc",)), ("tool", ("abc", ANY_INPUT))])
def test_a_grant_covers_what_was_offered(grant: SessionGrant, hashes: tuple[str, ...]) -> None:
    voted = NOBODY_KNOWN.cast(asked(grant=grant), Vote("tg:1", True, 5.0, "session"))
    assert voted is not None
    assert voted.grants == hashes


@pytest.mark.parametrize("scopes", [("once", "session"), ("session", "once"), ("once", "once")])
def test_a_grant_needs_every_yes_to_be_for_the_session(scopes: tuple[Scope, Scope]) -> None:
    row = cast(asked(quorum=2, grant="tool"), "tg:1", scope=scopes[0])
    voted = NOBODY_KNOWN.cast(row, Vote("tg:2", True, 5.0, scopes[1]))
    assert voted is not None
    assert (voted.row.state, voted.row.scope, voted.grants) == ("allowed", "once", ())


def test_a_no_grants_nothing() -> None:
    voted = NOBODY_KNOWN.cast(asked(grant="tool"), Vote("tg:1", False, 5.0, "session"))
    assert voted is not None
    assert (voted.row.state, voted.grants) == ("denied", ())


@pytest.mark.parametrize(
    ("given_as", "asked_as", "same", "other"),
    [
        ("off", "tool", False, False),
        ("input", "input", True, False),
        ("input", "tool", True, False),
        ("tool", "input", True, False),
        ("tool", "tool", True, True),
        ("tool", "off", False, False),
    ],
)
def test_no_more_is_used_of_a_grant_than_was_given_and_is_allowed_by_now(
    given_as: SessionGrant, asked_as: SessionGrant, same: bool, other: bool
) -> None:
    covered = set(inputs_covered(given_as, "abc"))
    assert bool(covered & set(inputs_covered(asked_as, "abc"))) == same
    assert bool(covered & set(inputs_covered(asked_as, "def"))) == other


def fold(row: Approval, cast_votes: Sequence[Vote], voters: Voters) -> tuple[Approval, tuple[str, ...], list[Vote]]:
    """The row after all that were cast while it was pending, what it grants, and those that counted."""
    granted: tuple[str, ...] = ()
    counted = list[Vote]()
    for vote in cast_votes:
        if row.state == "pending" and (voted := voters.cast(row, vote)) is not None:
            row, granted = voted.row, voted.grants
            counted.append(vote)
    return row, granted, counted


@given(votes, st.integers(1, 4), grants)
def test_whatever_is_voted_a_row_is_decided_by_the_first_no_or_by_its_quorum(
    cast_votes: list[Vote], quorum: int, grant: SessionGrant
) -> None:
    row, granted, counted = fold(asked(quorum=quorum, grant=grant), cast_votes, KNOWN)
    people = {KNOWN.person_of(vote.by) for vote in counted}
    noes = [vote for vote in counted if not vote.allow]
    assert row.votes == tuple(counted)
    assert len(people) == len(counted), "one voice each"
    assert noes in ([], counted[-1:]), "nothing is counted behind a no"
    assert row.state == ("denied" if noes else "allowed" if len(counted) == quorum else "pending")
    for_session = row.state == "allowed" and all(vote.scope == "session" for vote in counted)
    assert (row.scope == "session") == for_session
    assert granted == (inputs_covered(grant, "abc") if for_session else ())
    assert (row.decided_at is None) == (row.decided_by is None) == (row.state == "pending")


@given(votes, st.integers(1, 4))
def test_a_vote_changes_nothing_but_what_it_decides(cast_votes: list[Vote], quorum: int) -> None:
    before = asked(quorum=quorum)
    row, _, _ = fold(before, cast_votes, KNOWN)
    fields = {name: getattr(before, name) for name in ("state", "decided_at", "decided_by", "note", "votes", "scope")}
    assert replace(row, **fields) == before
