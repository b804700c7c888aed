"""A JSON value as a field of a form, as Slack's Web API takes it."""

from __future__ import annotations

import math

import msgspec

from rtmpump.core.outbound.rejections import reject

_DEPTH = 32


def form_value(name: str, value: object, *, field: str = "arguments") -> str:
    """Return a JSON value as the field of a form: a text as it is, all else as JSON.

    Raises:
        CommandRejected: it can't be written, or is nested too deep.
    """
    try:
        if isinstance(value, str):
            value.encode()
            return value
        return msgspec.json.encode(_plain(value, _DEPTH)).decode()
    except UnicodeEncodeError:
        problem = "holds half of a surrogate pair, which UTF-8 can't hold; send whole characters"
    except ValueError as error:
        problem = str(error)
    where = f'field "{field}"' if field == name else f'field "{field}": "{name}"'
    raise reject(f"{where} {problem}", field)


def _plain(value: object, depth: int) -> object:
    """Return the value if it is JSON; Python's reader also takes NaN, and any depth.

    Raises:
        ValueError: it is not; with a text that goes on after the name of the field.
    """
    if isinstance(value, dict | list) and depth == 0:
        raise ValueError(f"is nested more than {_DEPTH} deep; make it flatter")
    if isinstance(value, dict):
        return {key: _plain(one, depth - 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, depth - 1) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds NaN or an infinite number, which JSON does not have")
    return value
