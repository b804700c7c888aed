"""The pages to look at: one that page.js draws from `/status` in the browser, and the runbook.

Laws:

- Only page.js draws. Made here: the frame, and the verdict and the links for a browser without
  scripts.
- Nothing is loaded from anywhere. `POLICY` lets this script and this style run, by their hashes.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from rtmpump.http import runbook as runbook_text
from rtmpump.http.status import LinkState, Status, link_name

_HERE: Final = Path(__file__).parent
_ERROR_LENGTH: Final = 300


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_TEMPLATE: Final = Template((_HERE / "page.html").read_text("utf-8"))
_RUNBOOK: Final = Template((_HERE / "runbook.html").read_text("utf-8"))
_STYLE: Final = (_HERE / "page.css").read_text("utf-8")
_SCRIPT: Final = (_HERE / "page.js").read_text("utf-8")
STYLE_POLICY: Final = f"style-src {_hash(_STYLE)}"
POLICY: Final = (
    f"connect-src 'self'; script-src {_hash(_SCRIPT)}; {STYLE_POLICY}; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What the page needs beyond `default-src 'none'`, as directives of a Content-Security-Policy.

`STYLE_POLICY` is what the runbook needs, which has no script.
"""


def render(status: Status) -> bytes:
    """Return the page, with the verdict and the links of `status` for `<noscript>`."""
    verdict = status.verdict
    return _TEMPLATE.substitute(
        style=_STYLE,
        script=_SCRIPT,
        version=escape(status.version),
        tone=escape(verdict.tone),
        verdict=escape(verdict.what),
        means=escape(verdict.means),
        fix=escape(verdict.fix),
        runbook=_entry(verdict.runbook),
        as_of=_moment(status.now),
        links="".join(_link(status, link) for link in dict.fromkeys(_all_links(status))),
    ).encode("utf-8", "replace")


def runbook() -> bytes:
    """Return the runbook as a page."""
    return _RUNBOOK.substitute(style=_STYLE, text=runbook_text.body()).encode()


def _entry(name: str) -> str:
    """Return the link to an entry of the runbook; "" without one."""
    if not name:
        return ""
    at = escape(runbook_text.anchor(name))
    return f'<p>Runbook: <a href="runbook#{at}">{escape(name)}</a></p>'


def _all_links(status: Status) -> list[str]:
    return [*status.wanted, *status.links]


def _link(status: Status, link: str) -> str:
    state = status.links.get(link, LinkState())
    word = "up" if state.up else "down" if link in status.wanted else "resting"
    since = f" since {_moment(state.since)}" if state.since else ""
    error = f"; last error: {escape(state.last_error[:_ERROR_LENGTH])}" if state.last_error else ""
    return f"<li>{escape(link_name(link))}: {word}{since}{error}</li>"


def _moment(at: str) -> str:
    return f"<time>{escape(f'{at[:10]} {at[11:19]} UTC')}</time>"
