"""Votes on approvals. Several identities of one person are one voter, by the links in force when votes are counted. Pure."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from gatewayd.model.records.approval import Approval, Scope, SessionGrant, Vote
from gatewayd.ports.store import ANY_INPUT, VoteResult


class Voters:
    """``people``: a person's identities (sessions.identity_links), each CHANNEL:ID or operator:NAME."""

    def __init__(self, people: Mapping[str, Sequence[str]]) -> None:
        self._person_of = {identity: f"person:{person}" for person, identities in people.items() for identity in identities}

    def person_of(self, identity: str) -> str:
        """The person of an identity, or the identity itself if it is linked to nobody."""
        return self._person_of.get(identity, identity)

    def count(self, row: Approval) -> int:
        """How many different people have voted."""
        return len({self.person_of(vote.by) for vote in row.votes})

    def has_voted(self, row: Approval, identity: str) -> bool:
        """Whether this person has voted, with any identity."""
        return any(self.person_of(vote.by) == self.person_of(identity) for vote in row.votes)

    def cast(self, row: Approval, vote: Vote) -> VoteResult | None:
        """Add a vote to a pending row. One no denies it. As many yes as the quorum wants allow it, for the session if all of them
        are for the session. None: this person has voted already."""
        if self.has_voted(row, vote.by):
            return None
        voted = replace(row, votes=(*row.votes, vote))
        if not vote.allow:
            return VoteResult(replace(voted, state="denied", decided_by=vote.by, note=vote.note, decided_at=vote.at))
        if self.count(voted) < row.quorum:
            return VoteResult(voted)
        by = " and ".join(each.by for each in voted.votes)
        scope: Scope = "session" if all(each.scope == "session" for each in voted.votes) else "once"
        allowed = replace(voted, state="allowed", decided_by=by, note=vote.note, decided_at=vote.at, scope=scope)
        return VoteResult(allowed, inputs_covered(row.session_grant, row.input_hash) if scope == "session" else ())


def inputs_covered(grant: SessionGrant, input_hash: str) -> tuple[str, ...]:
    """The inputs that a yes for the session covers, and so the grants that cover an input. A grant for any input also covers this
    one, even if a reload has limited grants since."""
    covered: Mapping[SessionGrant, tuple[str, ...]] = {"off": (), "input": (input_hash,), "tool": (input_hash, ANY_INPUT)}
    return covered[grant]
