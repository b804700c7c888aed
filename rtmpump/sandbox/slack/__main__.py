"""`python -m rtmpump.sandbox.slack`: a simulated workspace in a process of its own."""

import sys

from rtmpump.sandbox.slack.flood import main

if __name__ == "__main__":
    sys.exit(main())
