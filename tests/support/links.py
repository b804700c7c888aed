"""What a pump reports of its links, kept for the test."""

from __future__ import annotations

from rtmpump.links.lifecycle import RetryDetails


class LinkLog:
    """A listener that appends to the lists it was given."""

    def __init__(self, ups: list[str], downs: list[RetryDetails]) -> None:
        self._ups = ups
        self._downs = downs

    def link_up(self, link: str, where: str) -> None:
        """Keep where it leads."""
        self._ups.append(where)

    def link_down(self, retry: RetryDetails) -> None:
        """Keep how it ended."""
        self._downs.append(retry)
