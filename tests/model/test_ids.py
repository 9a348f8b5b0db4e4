"""The names of accounts, peers and conversations: one spelling each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.model.ids import AccountId, ConversationId, Peer, PeerKind

PARTS = st.text(st.sampled_from("ab:/%253AF2é\ud83d\n"), max_size=6)
KINDS = st.sampled_from(("dm", "group", "channel"))
ACCOUNTS = st.builds(AccountId, PARTS, PARTS)
PEERS = st.builds(Peer, KINDS, PARTS, st.none() | PARTS)
CONVERSATIONS = st.builds(ConversationId, ACCOUNTS, PEERS)
TEXTS = st.text(st.sampled_from("ab:/%253AFf"), max_size=12) | CONVERSATIONS.map(str)


@given(ACCOUNTS, PEERS, CONVERSATIONS)
def test_what_is_spelled_is_read_again(account: AccountId, peer: Peer, conversation: ConversationId) -> None:
    assert AccountId.parse(str(account)) == account
    assert Peer.parse(str(peer)) == peer
    assert ConversationId.parse(str(conversation)) == conversation


@given(TEXTS)
def test_what_can_be_read_is_spelled_so(text: str) -> None:
    for kind in (AccountId, Peer, ConversationId):
        try:
            found = kind.parse(text)
        except ValueError:
            continue
        assert str(found) == text


@pytest.mark.parametrize(
    ("one", "other"),
    [(("x", "y"), ("x:y", None)), (("x", ""), ("x", None)), (("%3A", None), (":", None)), (("a%", "b"), ("a", "%b"))],
)
def test_different_chats_are_spelled_differently(one: tuple[str, str | None], other: tuple[str, str | None]) -> None:
    kind: PeerKind = "group"
    account = AccountId("chat", "main")
    assert str(ConversationId(account, Peer(kind, *one))) != str(ConversationId(account, Peer(kind, *other)))


def test_ordinary_ids_are_spelled_as_they_are() -> None:
    account = AccountId("telegram", "main")
    assert str(account) == "telegram/main"
    assert str(ConversationId(account, Peer("group", "-100", "7"))) == "telegram:main:group:-100:7"
    assert Peer("group", "-100", "7").whole == Peer("group", "-100")


@pytest.mark.parametrize(
    "text",
    ["", "chat", "chat:main", "chat:main:dm", "chat:main:dm:1:2:3", "chat:main:person:1", "chat:main:dm:%3a", "chat:main:dm:%"],
)
def test_what_names_no_conversation(text: str) -> None:
    with pytest.raises(ValueError, match="names no"):
        ConversationId.parse(text)
