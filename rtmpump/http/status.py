"""The document of `/status`: what is in it, and how another version's is read.

A new field is one line in a struct here (or in `MetricsSnapshot`), one line where the struct is
made, one in `BLANK`, and one line in page.js. `make schema` then writes docs/status.schema.json.

Laws:

- Producers and readers of the document use these structs, so mypy finds a wrong field.
- A field never changes its name, type or place. New ones are added.
- A reader ignores fields that it does not know, and takes those that are absent from `BLANK`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from rtmpump.metrics import LINKS, Metrics, MetricsSnapshot

_NAMES: Final = {
    "slack": "Slack",
    "web_api": "Slack (Web API)",
    "broker_events": "RabbitMQ (events)",
    "broker_commands": "RabbitMQ (commands)",
    "broker_lock": "RabbitMQ (lock)",
    "channel_list": "Slack (list of channels)",
}


class LinkState(Struct, frozen=True, kw_only=True):
    """The state of one link; the defaults are those of a link before its first try."""

    up: Annotated[bool | None, Meta(description="null before the first try.")] = None
    since: Annotated[str, Meta(description='When `up` last changed, RFC 3339; "" if never.')] = ""
    last_error: Annotated[str, Meta(description='"reason: detail" of the last failure.')] = ""
    last_error_at: Annotated[str, Meta(description='When it failed, RFC 3339; "" if never.')] = ""
    next_try_at: Annotated[
        str, Meta(description='When it is tried again, RFC 3339; "" while it is up or unknown.')
    ] = ""


class LinkChange(Struct, frozen=True, kw_only=True):
    """One change of a link's state."""

    at: Annotated[str, Meta(description="When, RFC 3339.")]
    link: Annotated[str, Meta(description="Name of the link.")]
    up: Annotated[bool, Meta(description="Whether it was up from then on.")]
    why: Annotated[str, Meta(description="The peer that it reached, or the reason of its end.")]


class Links(NamedTuple):
    """What `LinkStates` reports; fields as in `Status`."""

    role: str
    wanted: list[str]
    states: dict[str, LinkState]
    changes: list[LinkChange]


class Problem(Struct, frozen=True, kw_only=True):
    """One thing that is wrong, or worth knowing."""

    level: Annotated[
        str, Meta(description='"bad": not ready; "warn": soon it may be; "note": nothing is wrong.')
    ]
    reason: Annotated[str, Meta(description="One word, such as spool_full.")]
    what: Annotated[str, Meta(description="What is wrong.")]
    means: Annotated[str, Meta(description="What it means.")]
    fix: Annotated[str, Meta(description="What to do.")]
    runbook: Annotated[str, Meta(description='Its entry in /runbook; "" if it has none.')]


class Verdict(Struct, frozen=True, kw_only=True):
    """How all is, in words: /readyz, `rtmpump status` and the page say it first."""

    ready: Annotated[bool, Meta(description="Whether /readyz is 200.")]
    tone: Annotated[str, Meta(description='"ok", "warn" or "bad".')]
    what: Annotated[str, Meta(description="What is wrong, in one sentence, or that all is well.")]
    means: Annotated[str, Meta(description='What it means; "" while all is well.')]
    fix: Annotated[str, Meta(description='What to do; "" for nothing.')]
    more: Annotated[list[Problem], Meta(description="What else is wrong, or worth knowing.")]
    runbook: Annotated[
        str, Meta(description='Entry in /runbook, such as RtmpumpBrokerDown; "" if there is none.')
    ]


class RecentLatency(Struct, frozen=True, kw_only=True):
    """How long something took in the last minutes; times in seconds."""

    count: Annotated[int, Meta(description="How many were measured.")]
    p50: Annotated[
        float | None, Meta(description="Median, estimated; null if unknown or over 1 h.")
    ]
    p99: Annotated[float | None, Meta(description="99th percentile, in the same way.")]


class Recent(Struct, frozen=True, kw_only=True):
    """What happened in the last minutes, and how long it took."""

    seconds: Annotated[float, Meta(description="How far back this goes, about 300 at most.")]
    confirm_latency: Annotated[
        RecentLatency, Meta(description="From an event's frame to RabbitMQ's confirm.")
    ]
    command_latency: Annotated[
        RecentLatency, Meta(description="From a command's delivery to its result.")
    ]
    returned: Annotated[int, Meta(description="Events that no queue took, in that time.")]


class EventHistory(Struct, frozen=True, kw_only=True):
    """Events of the last 15 minutes, in buckets of about ten seconds, the oldest first."""

    at: Annotated[list[str], Meta(description="When each bucket ended, RFC 3339.")]
    seconds: Annotated[list[float], Meta(description="How long each bucket was.")]
    received: Annotated[
        dict[str, list[int]],
        Meta(description='Events of each bucket, by type; those of rare types are "other".'),
    ]


class WorkspaceNames(Struct, frozen=True, kw_only=True):
    """Whose events these are; "" before the first connection."""

    id: Annotated[str, Meta(description="Id of the team.")] = ""
    name: Annotated[str, Meta(description="Name of the workspace.")] = ""
    bot: Annotated[str, Meta(description="Id of the bot's user.")] = ""


class LastGap(Struct, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}):
    """One of the newest gaps."""

    since: Annotated[str, Meta(description="From when on events may be missing, RFC 3339.")]
    until: Annotated[str, Meta(description="Until when, RFC 3339.")]
    reason: Annotated[str, Meta(description="Why, in one word.")]
    filled: Annotated[bool, Meta(description="Whether its messages were fetched.")]
    note: Annotated[str, Meta(description="How far that is, or why not.")]


class Gaps(Struct, frozen=True, kw_only=True):
    """The gaps since the start."""

    number: Annotated[int, Meta(description="How many there were.")]
    last: Annotated[LastGap | None, Meta(description="null if there was none.")]
    recent: Annotated[list[LastGap], Meta(description="The last 20, the oldest first.")]


class BackfillProgress(Struct, frozen=True, kw_only=True):
    """How far gaps are filled."""

    on: Annotated[bool, Meta(description="Whether events.backfill is set.")] = False
    pending: Annotated[int, Meta(description="Gaps that are still to be filled.")] = 0
    conversations: Annotated[int, Meta(description="Read so far for the present gap.")] = 0
    messages: Annotated[int, Meta(description="Fetched so far for the present gap.")] = 0
    waits_for: Annotated[str, Meta(description='What it waits for; "" if for nothing.')] = ""


class SlackSide(Struct, frozen=True, kw_only=True):
    """What is known of Slack's side."""

    mode: Annotated[str, Meta(description='slack.mode: "rtm" or "socket".')]
    workspace: WorkspaceNames
    websockets: Annotated[int, Meta(description="WebSockets that are open and serve.")]
    websockets_wanted: Annotated[int, Meta(description="How many there should be.")]
    gaps: Gaps
    backfill: BackfillProgress


class CommandQueues(Struct, frozen=True, kw_only=True):
    """What is known of the commands."""

    queue: Annotated[str, Meta(description="The queue that they come from.")]
    dead_queue: Annotated[str, Meta(description="The queue of dead letters.")]
    waits_for_turn: Annotated[
        bool, Meta(description="Whether RabbitMQ gives the commands to another pump.")
    ]


class Status(Struct, frozen=True, kw_only=True):
    """What a running rtmpump is doing: the document of /status and of `rtmpump status --json`."""

    version: Annotated[str, Meta(description="Version of rtmpump.")]
    now: Annotated[str, Meta(description="When this document was made, RFC 3339.")]
    pid: Annotated[int, Meta(description="Process id.")]
    uptime_seconds: Annotated[float, Meta(description="How long the daemon has run.")]
    stalled: Annotated[list[str], Meta(description="Loops that make no progress.")]
    role: Annotated[str, Meta(description='"active", or "standby" while another pump is active.')]
    wanted: Annotated[list[str], Meta(description="The links that this role needs.")]
    links: Annotated[dict[str, LinkState], Meta(description="The links, by name.")]
    changes: Annotated[
        list[LinkChange], Meta(description="The last 50 changes of the links, the oldest first.")
    ]
    metrics: MetricsSnapshot
    recent: Recent
    history: EventHistory
    verdict: Verdict
    full_in_seconds: Annotated[
        float | None,
        Meta(description="When the spool is full at the present rate; null if it does not grow."),
    ]
    slack: SlackSide
    queues: CommandQueues


_NO_LATENCY: Final = RecentLatency(count=0, p50=None, p99=None)
BLANK: Final = Status(
    version="?",
    now="",
    pid=0,
    uptime_seconds=0.0,
    stalled=[],
    role="active",
    wanted=list(LINKS),
    links={},
    changes=[],
    metrics=Metrics().snapshot(),
    recent=Recent(
        seconds=0.0, confirm_latency=_NO_LATENCY, command_latency=_NO_LATENCY, returned=0
    ),
    history=EventHistory(at=[], seconds=[], received={}),
    verdict=Verdict(
        ready=False,
        tone="warn",
        what="This daemon gives no verdict",
        means="",
        fix="",
        more=[],
        runbook="",
    ),
    full_in_seconds=None,
    slack=SlackSide(
        mode="",
        workspace=WorkspaceNames(),
        websockets=0,
        websockets_wanted=0,
        gaps=Gaps(number=0, last=None, recent=[]),
        backfill=BackfillProgress(),
    ),
    queues=CommandQueues(queue="", dead_queue="", waits_for_turn=False),
)
"""The status of a pump of which nothing is known."""


def link_name(link: str) -> str:
    """Return what people call a link; page.js has the same names."""
    return _NAMES.get(link, link)


def down_links(wanted: list[str], states: dict[str, LinkState]) -> list[str]:
    """Return the names of those wanted links that are not up."""
    return [link for link in wanted if not states.get(link, LinkState()).up]


def sentence(one: Verdict | Problem) -> str:
    """Return in one sentence what is wrong and what to do."""
    return f"{one.what}; {one.fix[:1].lower()}{one.fix[1:]}" if one.fix else one.what


def encode(status: Status) -> bytes:
    """Return the document as JSON."""
    # Not msgspec's encoder: it refuses half a character, which an error text may hold.
    return json.dumps(msgspec.to_builtins(status)).encode()


def read(document: object) -> Status:
    """Return the status of a daemon of any version.

    Args:
        document: What JSON has at `/status`.

    Raises:
        msgspec.ValidationError: It is another document.
    """
    if not isinstance(document, dict) or "uptime_seconds" not in document:
        raise msgspec.ValidationError("it has no uptime_seconds")
    return msgspec.convert(_laid_over(msgspec.to_builtins(BLANK), document), Status)


def _laid_over(blank: Any, value: Any) -> Any:
    """Return `value` with what `blank` has and it lacks, at each level that `blank` has."""
    if not (isinstance(blank, dict) and isinstance(value, dict)):
        return value
    return blank | {key: _laid_over(blank.get(key), item) for key, item in value.items()}


def schema() -> str:
    """Return the JSON Schema of the document, as the text of docs/status.schema.json."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(document | msgspec.json.schema(Status), indent=2) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
