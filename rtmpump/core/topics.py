"""Which routing keys a topic exchange takes for a pattern, where RabbitMQ does not choose."""

from __future__ import annotations


def fits(pattern: str, routing_key: str) -> bool:
    """Return whether a topic exchange takes this key for a binding with this pattern."""
    # Which words of the key are taken once so many words of the pattern are.
    words = routing_key.split(".") if routing_key else []
    taken = {0}
    for part in pattern.split(".") if pattern else []:
        if part == "#":
            taken = set(range(min(taken), len(words) + 1))
        else:
            ahead = (n for n in taken if n < len(words) and part in ("*", words[n]))
            taken = {n + 1 for n in ahead}
        if not taken:
            return False
    return len(words) in taken
