"""Who votes as whom: several identities of one person are one voter, by the links that hold when votes are counted. Pure."""

from collections.abc import Mapping, Sequence

from gatewayd.model.approval import Approval


class Voters:
    """``people``: a person's identities (sessions.identity_links), each CHANNEL:ID or operator:NAME."""

    def __init__(self, people: Mapping[str, Sequence[str]]) -> None:
        self._person_of = {identity: f"person:{person}" for person, identities in people.items() for identity in identities}

    def person_of(self, identity: str) -> str:
        """The person an identity belongs to, or the identity itself where nobody is known."""
        return self._person_of.get(identity, identity)

    def count(self, row: Approval) -> int:
        """How many different people have voted."""
        return len({self.person_of(vote.by) for vote in row.votes})

    def has_voted(self, row: Approval, identity: str) -> bool:
        """Whether this person has, under whatever identity."""
        return any(self.person_of(vote.by) == self.person_of(identity) for vote in row.votes)
