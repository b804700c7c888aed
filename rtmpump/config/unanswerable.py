"""Keys of `slack.answered` that Slack can't be answered on."""

from __future__ import annotations

from typing import Final

from rtmpump.config.sections import Config

# Where Slack takes an answer in the acknowledgement, by the pages of each payload
# (https://docs.slack.dev/reference/interaction-payloads). A type alone is all its subtypes.
_TAKES_ANSWER: Final = frozenset(
    {
        "slash_command",
        "interactive",
        "interactive.view_submission",
        "interactive.block_suggestion",
        "interactive.dialog_submission",
        "interactive.dialog_suggestion",
        "interactive.interactive_message",
    }
)


def unanswerable(config: Config) -> list[str]:
    """Return the keys whose answers nobody would see, such as `message`."""
    return sorted(config.slack.answered - _TAKES_ANSWER)
