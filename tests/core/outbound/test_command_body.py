"""core.outbound.command_body: bytes that are a JSON object, and what they may be instead."""

from __future__ import annotations

import bz2
import gzip
import zlib

import pytest

from rtmpump.core.outbound.command_body import read_object
from rtmpump.errors import CommandRejected

GOOD = b'{"channel": "C1", "text": "hi"}'
FIELDS = {"channel": "C1", "text": "hi"}


def problem(raw: bytes) -> str:
    """What is said of a body that can't be read."""
    with pytest.raises(CommandRejected) as caught:
        read_object(raw)
    return caught.value.message


def encoded(name: str) -> bytes:
    """A good body in another encoding."""
    match name:
        case "gzip":
            return gzip.compress(GOOD)
        case "zlib":
            return zlib.compress(GOOD)
        case "bzip2":
            return bz2.compress(GOOD)
        case "zstd":
            return b"\x28\xb5\x2f\xfd" + GOOD
    return GOOD.decode().encode(name)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("gzip", "compressed with gzip"),
        ("zlib", "compressed with zlib"),
        ("bzip2", "compressed with bzip2"),
        ("zstd", "compressed with zstd"),
        ("utf-16", "in UTF-16"),
        ("utf-16-le", "in UTF-16"),
        ("utf-16-be", "in UTF-16"),
        ("utf-32", "in UTF-32"),
    ],
)
def test_a_body_in_another_encoding_is_named(name: str, word: str) -> None:
    """By its first bytes; where the property content_encoding says something, that as well."""
    with pytest.raises(CommandRejected) as caught:
        read_object(encoded(name))
    assert f"the body is {word}; send a JSON object in UTF-8" in caught.value.message
    for given, told in ((name, True), ("utf-8", False), ("UTF8", False), ("", False)):
        with pytest.raises(CommandRejected) as caught:
            read_object(encoded(name), content_encoding=given)
        assert (f'its content_encoding is "{given}"' in caught.value.message) is told


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_zlib_is_known_at_each_level(level: int) -> None:
    """Its second byte says which."""
    assert "compressed with zlib" in problem(zlib.compress(GOOD, level))


def test_another_content_encoding_is_named_whatever_the_bytes_are() -> None:
    """What can be read is read: some clients set the property by habit."""
    with pytest.raises(CommandRejected, match=r'content_encoding is "base64"; send a JSON object'):
        read_object(b"eyJjaGFubmVsIjogIkMxIn0=", content_encoding="base64")
    with pytest.raises(CommandRejected, match=r'not UTF-8 \(byte 28\), .* is "latin-1"'):
        read_object(b'{"channel": "C1", "text": "h\xe9"}', content_encoding="latin-1")
    assert read_object(GOOD, content_encoding="gzip") == FIELDS


def test_a_byte_order_mark_is_skipped() -> None:
    """Windows' editors write it; a lone one is no command."""
    assert read_object(b"\xef\xbb\xbf" + GOOD) == FIELDS
    assert "not JSON" in problem(b"\xef\xbb\xbf")
    assert "not JSON" in problem(b"x")
    assert "not JSON" in problem(b"xy")
