"""Signatures of webhooks. Whatever a request says, the answer is True or False, and no error.

All comparisons take the same time for every wrong value. A header that is missing is None, and False.
"""

import hmac
import re
from base64 import b64encode
from hashlib import sha256
from typing import Final, Literal

from gatewayd.model.secret import Secret

TOLERANCE_SECONDS: Final = 300.0
"""How far a signed time may be off: Slack's guide "Verifying requests from Slack" says five minutes."""

_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_ED25519_KEY: Final = re.compile(r"[0-9a-f]{64}", re.IGNORECASE | re.ASCII)
_ED25519_SIGNATURE: Final = re.compile(r"[0-9a-f]{128}", re.IGNORECASE | re.ASCII)


def is_hmac_sha256(
    secret: Secret, body: bytes, given: str | None, *, prefix: str = "", encoding: Literal["hex", "base64"] = "hex"
) -> bool:
    """Whether ``given`` is the HMAC-SHA256 (RFC 2104) of the body, in lower-case hex or in base64, behind ``prefix``.

    WhatsApp and GitHub have hex behind ``sha256=``, LINE has base64. An empty secret signs nothing: anybody knows it.
    """
    key = secret.reveal().encode()
    if not key or given is None:
        return False
    digest = hmac.new(key, body, sha256)
    right = digest.hexdigest() if encoding == "hex" else b64encode(digest.digest()).decode()
    return hmac.compare_digest(f"{prefix}{right}".encode(), given.encode(errors="replace"))


def is_signed_v0(secret: Secret, body: bytes, given: str | None, *, timestamp: str | None, now: float) -> bool:
    """Whether a request is Slack's, and fresh (its guide "Verifying requests from Slack").

    ``given`` is the header X-Slack-Signature, ``timestamp`` X-Slack-Request-Timestamp, ``now`` seconds since 1970.
    """
    if timestamp is None or not _SECONDS.fullmatch(timestamp) or not abs(now - int(timestamp)) <= TOLERANCE_SECONDS:
        return False
    return is_hmac_sha256(secret, b"v0:%b:%b" % (timestamp.encode(), body), given, prefix="v0=")


def is_ed25519(public_key: str, body: bytes, given: str | None, *, timestamp: str | None) -> bool:
    """Whether ``given`` is the Ed25519 signature (RFC 8032) of the timestamp with the body behind it; key and signature in hex.

    So Discord signs interactions: the headers X-Signature-Ed25519 and X-Signature-Timestamp. It sends wrong signatures, too, to
    see that they are refused.
    """
    if given is None or timestamp is None:
        return False
    if not _ED25519_KEY.fullmatch(public_key) or not _ED25519_SIGNATURE.fullmatch(given):
        return False
    # 2 MB and 40 ms, which only those pay who use it.
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import BadSignatureError

    signed = bytes.fromhex(given) + timestamp.encode(errors="replace") + body
    try:
        crypto_sign_open(signed, bytes.fromhex(public_key))
    except BadSignatureError:
        return False
    return True
