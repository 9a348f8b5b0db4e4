"""Bodies that come packed although nobody asked for it."""

import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.kit import body
from gatewayd.kit.body import Body, CannotUnpack

TEXT = b"data: The answer is 42.\n\n" * 20


class Sent(httpx2.AsyncByteStream):
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            await trio.lowlevel.checkpoint()
            yield chunk


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def flushed(data: bytes) -> bytes:
    """As a server does that packs a stream: each piece can be read at once, and there is no end."""
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    return b"".join(packer.compress(data[at : at + 25]) + packer.flush(zlib.Z_SYNC_FLUSH) for at in range(0, len(data), 25))


def read(chunks: list[bytes], coding: str) -> list[bytes]:
    async def main() -> list[bytes]:
        response = httpx2.Response(200, headers={"content-encoding": coding}, stream=Sent(chunks))
        async with aclosing(Body(response)) as pieces:
            return [piece async for piece in pieces]

    return trio.run(main)


PACKED = [
    ("gzip", gzip.compress(TEXT)),
    ("x-gzip", gzip.compress(TEXT)),
    ("GZip, identity", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
    ("gzip", gzip.compress(TEXT) + b"\0" * 8),
    ("gzip", flushed(TEXT)),
    ("gzip", TEXT),
    ("deflate", zlib.compress(TEXT)),
    ("deflate", bare(TEXT)),
    ("identity", TEXT),
    ("", TEXT),
]


@given(st.sampled_from(PACKED), st.lists(st.integers(0, 600), max_size=6))
def test_any_cut_of_a_packed_body_gives_what_was_packed(sent: tuple[str, bytes], cuts: list[int]) -> None:
    coding, data = sent
    ends = sorted(min(cut, len(data)) for cut in cuts)
    chunks = [data[start:stop] for start, stop in zip([0, *ends], [*ends, len(data)], strict=True)]
    assert b"".join(read(chunks, coding)) == TEXT


def test_what_is_flushed_is_there_at_once() -> None:
    async def main() -> None:
        packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
        chunks = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in (b"one", b"two")]
        response = httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=Sent(chunks))
        async with aclosing(Body(response)) as pieces:
            assert [await anext(pieces), await anext(pieces)] == [b"one", b"two"]

    trio.run(main)


def test_a_bomb_is_unpacked_in_small_pieces_up_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "UNPACKED_MAX", 1_000_000)
    assert max(len(piece) for piece in read([gzip.compress(b"x" * 1_000_000)], "gzip")) == 65_536
    for bomb in (gzip.compress(b"x" * 1_000_001), gzip.compress(b"x" * 500_001) * 2):
        with pytest.raises(CannotUnpack, match="becomes more than 1000000 bytes"):
            read([bomb], "gzip")


@pytest.mark.parametrize(
    ("coding", "data", "why"),
    [
        ("br", TEXT, "content-encoding: br"),
        ("zstd", TEXT, "cannot be unpacked here"),
        ("gzip, gzip", TEXT, "content-encoding: gzip, gzip"),
        ("x" * 1000, TEXT, "content-encoding: x{50}\\)"),
        ("gzip", b"\x1f\x8bnonsense", "content-encoding: gzip"),
        ("deflate", b"data: plain", "content-encoding: deflate"),
    ],
)
def test_what_cannot_be_unpacked_says_so(coding: str, data: bytes, why: str) -> None:
    with pytest.raises(CannotUnpack, match=why):
        read([data], coding)
