"""Takes plain frames, which nearly all are, from a buffer without websocket-client.

A plain frame is a whole message, text or binary, of less than 64 KiB and not masked (RFC 6455
§5.2). websocket-client needs seven calls for each; here a slice is enough. It gets all others.
"""

from __future__ import annotations

from typing import Final

# FIN, no reserved bit, text or binary.
_WHOLE: Final = (0x81, 0x82)
_SHORT_MAX: Final = 125
_MEDIUM: Final = 126


def take_plain(buffer: bytes, at: int, most: int, room: int) -> tuple[list[bytes], int]:
    """Return the payloads of the plain frames that begin at `at`, and where they end.

    At most `most` payloads, and no more once the frames fill `room` bytes. It ends before the first
    frame that isn't plain, or isn't complete. A frame must begin at `at`, and no fragment may be
    open.
    """
    messages: list[bytes] = []
    size, full = len(buffer), at + room
    # Four bytes hold the longest header; a last frame that is shorter is left to websocket-client.
    while at + 4 <= size and buffer[at] in _WHOLE and len(messages) < most and at < full:
        length = buffer[at + 1]
        start = at + 2
        if length == _MEDIUM:
            length = buffer[at + 2] << 8 | buffer[at + 3]
            start = at + 4
        elif length > _SHORT_MAX:
            break
        end = start + length
        if end > size:
            break
        messages.append(buffer[start:end])
        at = end
    return messages, at
