"""What a person types: `group` is the program itself, then one file for each command."""

from rtmpump.cli.interrupts import ending_at_once

with ending_at_once():
    from rtmpump.cli.group import main

__all__ = ["main"]
