"""Signatures against the vectors that were published with their schemes, and against headers of any kind."""

import math
import subprocess
import sys
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from gatewayd.kit.network.signatures import is_ed25519, is_hmac_sha256, is_signed_v0
from gatewayd.model.secret import Secret

# Slack, "Verifying requests from Slack"
SLACK = Secret("8f742231b10e8888abcd99yyyzzz85a5")
SLACK_AT = "1531420618"
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
SLACK_SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
# GitHub, "Validating webhook deliveries"
GITHUB = Secret("It's a Secret to Everybody")
GITHUB_SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
# RFC 8032, section 7.1: public key, message, signature
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        b"",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a"
        "100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        b"\x72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb"
        "0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        b"\xaf\x82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1e"
        "c40a",
    ),
]
KEY, _, SIGNATURE = RFC_8032[0]


def test_slack_s_own_example() -> None:
    assert is_signed_v0(SLACK, SLACK_BODY, SLACK_SIGNATURE, timestamp=SLACK_AT, now=float(SLACK_AT))


@pytest.mark.parametrize(
    ("off", "fresh"), [(0, True), (300, True), (-300, True), (300.5, False), (-301, False), (1e9, False), (math.nan, False)]
)
def test_a_signature_of_another_time_is_none(off: float, fresh: bool) -> None:
    assert is_signed_v0(SLACK, SLACK_BODY, SLACK_SIGNATURE, timestamp=SLACK_AT, now=int(SLACK_AT) + off) is fresh


def test_the_time_is_part_of_what_is_signed() -> None:
    assert not is_signed_v0(SLACK, SLACK_BODY, SLACK_SIGNATURE, timestamp="1531420619", now=float(SLACK_AT))
    assert not is_signed_v0(SLACK, SLACK_BODY, SLACK_SIGNATURE, timestamp="0" + SLACK_AT, now=float(SLACK_AT))


def test_github_s_own_example() -> None:
    assert is_hmac_sha256(GITHUB, b"Hello, World!", GITHUB_SIGNATURE, prefix="sha256=")
    assert not is_hmac_sha256(GITHUB, b"Hello, World!", GITHUB_SIGNATURE.removeprefix("sha256="), prefix="sha256=")
    assert not is_hmac_sha256(GITHUB, b"Hello, World?", GITHUB_SIGNATURE, prefix="sha256=")
    assert not is_hmac_sha256(Secret("another"), b"Hello, World!", GITHUB_SIGNATURE, prefix="sha256=")


def test_base64_of_rfc_4231() -> None:
    said = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"  # section 4.3
    digest = b64encode(bytes.fromhex(said)).decode()
    data = b"what do ya want for nothing?"
    assert is_hmac_sha256(Secret("Jefe"), data, digest, encoding="base64")
    for wrong in (digest[:-1], digest.lower(), digest.replace("M=", "N=").replace("E=", "F="), digest + "=", f" {digest}"):
        assert not is_hmac_sha256(Secret("Jefe"), data, wrong, encoding="base64")


def test_an_empty_secret_signs_nothing() -> None:
    digest = "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"  # of nothing, with the empty key
    assert not is_hmac_sha256(Secret(""), b"", digest)


@pytest.mark.parametrize(("key", "message", "signature"), RFC_8032)
def test_rfc_8032(key: str, message: bytes, signature: str) -> None:
    assert is_ed25519(key, message, signature, timestamp="")
    assert is_ed25519(key.upper(), message, signature.upper(), timestamp="")
    assert not is_ed25519(key, message + b"x", signature, timestamp="")
    assert not is_ed25519(key, message, signature, timestamp="1")


@given(st.binary(max_size=50), st.text(st.characters(codec="ascii"), max_size=12), st.integers(0, 511))
def test_a_signature_holds_for_its_message_and_not_with_any_bit_changed(body: bytes, timestamp: str, bit: int) -> None:
    signer = SigningKey(b"k" * 32)
    key, signature = signer.verify_key.encode().hex(), signer.sign(timestamp.encode() + body).signature
    assert is_ed25519(key, body, signature.hex(), timestamp=timestamp)
    changed = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(64, "big")
    assert not is_ed25519(key, body, changed.hex(), timestamp=timestamp)


headers = (
    st.none()
    | st.text()
    | st.sampled_from([SIGNATURE, SIGNATURE[:-1], SIGNATURE + "0", "é" * 128, "\ud800", "zz" * 64, " " * 128])
)


@given(headers, headers, st.text() | st.sampled_from([KEY, "0" * 64, "f" * 64, KEY + "\n"]), st.floats())
def test_garbage_is_false_and_no_error(signature: str | None, timestamp: str | None, key: str, now: float) -> None:
    assert is_hmac_sha256(GITHUB, b"x", signature, prefix="sha256=") is False
    assert is_hmac_sha256(GITHUB, b"x", signature, encoding="base64") is False
    assert is_signed_v0(SLACK, b"x", signature, timestamp=timestamp, now=now) is False
    assert is_signed_v0(SLACK, SLACK_BODY, SLACK_SIGNATURE, timestamp=timestamp, now=now) is False
    assert is_ed25519(key, b"x", signature, timestamp=timestamp) is False


def test_the_library_is_loaded_only_when_it_is_needed() -> None:
    program = "import sys, gatewayd.kit.network.signatures; print(any(name.split('.')[0] == 'nacl' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
