"""Slack's side of its protocols: what a server says that a client of Slack talks to.

The gateway serves with it, and the simulated workspace, which can break each rule on top of it. The
pump has no part in it: it reads what Slack sends with `core`, so each of the two judges the other.
No socket and no thread: values in, values out.
"""
