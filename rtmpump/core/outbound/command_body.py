"""The bytes of a command as a JSON object, or what they are instead.

A producer that compresses, or writes another encoding, has made one mistake with all its commands:
the reason names what the bytes are and what the property `content_encoding` says.
"""

from __future__ import annotations

import codecs
import json
from typing import Any, Final, TypeAlias

from rtmpump.core.outbound.rejections import TOO_LONG, reject, short, what

BODY_MAX: Final = 65_536
Fields: TypeAlias = dict[str, Any]

_IN_UTF8: Final = "send a JSON object in UTF-8"
# What is no encoding of its own, or is read as UTF-8 whatever it is called.
_PLAIN: Final = ("", "utf-8", "utf8", "utf-8-sig", "us-ascii", "ascii", "identity", "binary")
_MARKS: Final = (
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"BZh", "compressed with bzip2"),
    (b"\xff\xfe\x00\x00", "in UTF-32"),
    (b"\x00\x00\xfe\xff", "in UTF-32"),
    (b"\xff\xfe", "in UTF-16"),
    (b"\xfe\xff", "in UTF-16"),
)


def read_object(body: bytes, content_encoding: str | None = None) -> Fields:
    """Return the JSON object (RFC 8259) in a body of at most 65,536 bytes; a BOM is skipped.

    Of a key that comes twice the last one counts. `content_encoding` is not believed: a body that
    is JSON in UTF-8 is read whatever the property says.

    Raises:
        CommandRejected: the body is too long or no object.
    """
    require_size(len(body))
    # Not msgspec: it refuses half a surrogate pair without saying in which field it stands.
    try:
        found = json.loads(body.removeprefix(codecs.BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 (byte {error.start})"
    except json.JSONDecodeError as error:
        problem = f"not JSON ({error.msg}: line {error.lineno}, column {error.colno})"
    except ValueError:
        problem = "JSON with a number of thousands of digits"
    except RecursionError:
        problem = "nested too deep"
    else:
        if isinstance(found, dict):
            return found
        raise reject(f'the body is {what(found)}; send an object like {{"channel": …}}')
    raise reject(f"the body is {_known(body) or problem}{_named(content_encoding)}; {_IN_UTF8}")


def require_size(size: int) -> None:
    """Check the size of a body in bytes.

    Raises:
        CommandRejected: it is too long.
    """
    if size > BODY_MAX:
        raise reject(f"the body is {size:,} bytes; send at most {BODY_MAX:,}", code=TOO_LONG)


def _known(body: bytes) -> str:
    """Return what these bytes, which are no JSON in UTF-8, look like; "" if like nothing known."""
    for mark, kind in _MARKS:
        if body.startswith(mark):
            return kind
    if _is_zlib(body):
        return "compressed with zlib"
    # An ASCII character, such as the brace that begins an object, has a zero byte beside it.
    if len(body) > 1 and len(body) % 2 == 0 and (body[0] == 0) is not (body[1] == 0):
        return "in UTF-16"
    return ""


def _is_zlib(body: bytes) -> bool:
    """Return whether it begins as RFC 1950 has it: deflate, and a checksum of the two bytes."""
    return len(body) > 1 and body[0] == 0x78 and int.from_bytes(body[:2]) % 31 == 0


def _named(content_encoding: str | None) -> str:
    if content_encoding is None or content_encoding.strip().lower() in _PLAIN:
        return ""
    return f', and its content_encoding is "{short(content_encoding)}"'
