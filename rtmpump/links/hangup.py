"""What SIGHUP means: that our terminal is gone, or else that all secrets are to be read again."""

from __future__ import annotations

import os
import sys


def has_terminal() -> bool:
    """Return whether standard input is a terminal, whose end SIGHUP would tell."""
    try:
        return os.isatty(sys.stdin.fileno())
    except (AttributeError, OSError, ValueError):
        return False
