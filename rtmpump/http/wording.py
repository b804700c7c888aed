"""The words for what can be wrong: what it is, what it means, what to do; one entry a reason.

In the texts `{n} {wait}` is how many commands wait, `{for_}` how long, `{detail}` more words,
`{spool}` how full the spool is. A reason without an entry gets `OTHER` of its trip. `ENTRIES` has
where the runbook says more.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rtmpump.core.standstill import (
    COMMANDS,
    HANGS,
    NOT_CONNECTED,
    PUBLISHING,
    RATE_LIMIT,
    READING,
    SLACK_PAUSE,
)


class Words(NamedTuple):
    """What is wrong, what it means, what to do."""

    what: str
    means: str
    fix: str


_UNREAD: Final = (
    "What happens in Slack waits there unread, and is missed when Slack ends the connection; what "
    "is in the spool is safe, and commands wait."
)
_KEPT: Final = "Events are kept on disk{spool}, and none is lost before the spool is full"
_IN_SPOOL: Final = f"{_KEPT}."
_WAIT: Final = "These commands wait; none is lost, but for those whose own expiration passes."
_DONE: Final = "Slack has carried them out; they come again if the connection ends now."
_RESTART: Final = "Restart rtmpump, and look at the disk of the spool and at the log"

OTHER: Final = {
    READING: Words("Nothing is read from Slack for {for_}: {named}", _UNREAD, "See the log"),
    PUBLISHING: Words("No event gets to RabbitMQ for {for_}: {named}", _IN_SPOOL, "See the log"),
    COMMANDS: Words("No command is carried out for {for_}, and {n} {wait}", _WAIT, "See the log"),
}

WORDS: Final[dict[tuple[str, str], Words]] = {
    (READING, "spool_full"): Words(
        "Nothing is read from Slack: the spool is full (spool.max_bytes)",
        _UNREAD,
        "Have RabbitMQ take the events again, or raise spool.max_bytes and restart",
    ),
    (READING, "disk"): Words(
        "Nothing is read from Slack: {detail}",
        _UNREAD,
        "Free some space on that disk, or mend it; rtmpump then goes on by itself",
    ),
    (READING, "silent"): Words(
        "Slack is silent: it has not answered a ping for {for_}",
        "Events may be late; if it lasts, rtmpump connects again by itself (slack.ping_timeout).",
        "Do nothing at first; if it comes again, look at the network to Slack",
    ),
    (READING, "no_lock"): Words(
        "No pump reads: {detail}",
        "RabbitMQ elects the active pump by the queue of ha.lock, and this one is no good standby.",
        "End RabbitMQ's alarm, or give the queue its majority back; then it takes seconds",
    ),
    (READING, HANGS): Words(
        "Nothing is read from Slack: the reading thread hangs for {for_}", _UNREAD, _RESTART
    ),
    (PUBLISHING, "broker_blocked"): Words(
        "RabbitMQ accepts no events: it has a memory or disk alarm",
        _IN_SPOOL,
        "Free memory or disk on the RabbitMQ node",
    ),
    (PUBLISHING, "nacked"): Words(
        "RabbitMQ refuses the events: a bound queue is full, or has no leader",
        _IN_SPOOL,
        "Have its consumer catch up, raise the queue's limit, or remove its binding",
    ),
    (PUBLISHING, "no_confirm"): Words(
        "RabbitMQ has confirmed no event for {for_}",
        _IN_SPOOL,
        "See whether the node is overloaded, and whether each bound quorum queue has a leader",
    ),
    (PUBLISHING, "disk"): Words(
        "No event gets to RabbitMQ: the spool can't be read",
        "Events wait in the spool.",
        "Mend the disk of the spool; the log line spool.read_failed says what is wrong",
    ),
    (PUBLISHING, NOT_CONNECTED): Words(
        "No event gets to RabbitMQ for {for_}: the connection does not hold",
        _IN_SPOOL,
        "See the last error of the link, and RabbitMQ's log",
    ),
    (PUBLISHING, HANGS): Words(
        "No event gets to RabbitMQ: the publishing thread hangs for {for_}", _IN_SPOOL, _RESTART
    ),
    (COMMANDS, NOT_CONNECTED): Words(
        "{n} {wait} for the connection for {for_}", _WAIT, "See the last error of the links"
    ),
    (COMMANDS, "web_api"): Words(
        "{n} {wait}: Slack's Web API can't be used",
        _WAIT,
        "See the last error of the link; a new token goes into slack.token_file",
    ),
    (COMMANDS, "no_answer"): Words(
        "Slack has not answered {n} for {for_}",
        "It is not known yet whether Slack took them; after outbound.reply_timeout they go again.",
        "Do nothing at first; if it lasts, see whether Slack is well (slack-status.com)",
    ),
    (COMMANDS, "channel_list"): Words(
        "{n} {wait} for Slack's list of channels for {for_}",
        _WAIT,
        "See the last error of the link channel_list; give channels by their ids",
    ),
    (COMMANDS, "slack_away"): Words(
        "{n} {wait}: Slack is not at work ({detail})", _WAIT, "Do nothing: rtmpump tries again"
    ),
    (COMMANDS, "slack_error"): Words(
        "{n} {wait}: Slack fails to carry them out ({detail})",
        "They go again, up to outbound.max_attempts; then they are dead letters.",
        "See the log lines command.again for the reason",
    ),
    (COMMANDS, SLACK_PAUSE): Words(
        "{n} {wait} for {for_}: Slack asked for a pause ({detail})",
        _WAIT,
        "Do nothing: rtmpump goes on when the pause is over; send less if it comes often",
    ),
    (COMMANDS, RATE_LIMIT): Words(
        "{n} {wait} for their rate limit ({detail})",
        "Slack allows about one message a second for each channel.",
        "Do nothing; a higher outbound.rate or outbound.api_rate may be refused by Slack",
    ),
    (COMMANDS, "dead_queue"): Words(
        "RabbitMQ refuses the dead letters of {n}: their queue is full, or has no leader",
        "These commands could not be carried out, and stay in rtmpump and in the queue.",
        "Make room in the queue of dead letters: `rtmpump dead list`, `retry` or `drop`",
    ),
    (COMMANDS, "no_confirm"): Words(
        "RabbitMQ does not confirm the results of {n} for {for_}",
        _DONE,
        "See whether the node has an alarm, and whether outbound.dead_queue has a leader",
    ),
    (COMMANDS, HANGS): Words(
        "No command is carried out: the sending thread hangs for {for_}, and {n} {wait}",
        _WAIT,
        _RESTART,
    ),
}

AWAY: Final = {
    "slack": Words(
        "Not connected: {links}{why}",
        "What happens in Slack now is missed or comes late, and commands wait.",
        "See whether Slack and the network are well{next}",
    ),
    "web_api": Words(
        "Not connected: {links}{why}",
        "Commands wait, and none dies of it.",
        "See whether Slack can be reached, and takes the token{next}",
    ),
    "broker": Words(
        "Not connected: {links}{why}",
        f"{_KEPT}; no command is taken.",
        "Start RabbitMQ, or correct broker.url{next}",
    ),
}
"""By what can't be reached; `{links}` are the names of the links, `{next}` when the next try is."""

FIXES: Final = {
    "auth": "Correct user and password in broker.url, or the user in RabbitMQ{next}",
    "not_allowed": "Give the user its permissions (deploy/rabbitmq/permissions.md){next}",
    "tls": "Set ca_file, or use a certificate for the name in the URL{next}",
    "refused": "Start RabbitMQ, or correct broker.url{next}",
    "precondition_failed": "Delete what was declared in another way, or use another name{next}",
    "nacked": "Make room in the queue that refuses, or see whether it has a leader{next}",
    "confirm_timeout": "See whether each bound quorum queue has a leader{next}",
    "no_leader": "Give the queue of ha.lock its majority back: start the other nodes{next}",
    "ack_timeout": "Set a smaller outbound.prefetch, or a longer consumer_timeout{next}",
    "ratelimited": "Do nothing: rtmpump waits as long as Slack asked{next}",
    "silent": "Do nothing: it connects again; look at the network if it comes often{next}",
}
"""What to do about a link, by the reason of its last failure."""
NEW_ONE: Final = "Put a new token into slack.token_file, or set it elsewhere and restart{next}"

ENTRIES: Final[dict[str, str]] = {
    "stalled": "RtmpumpDown",
    "slack": "RtmpumpSlackDown",
    "web_api": "RtmpumpWebApiDown",
    "broker": "RtmpumpBrokerDown",
    READING: "RtmpumpReadingStopped",
    f"{READING}.spool_full": "RtmpumpSpoolRefusing",
    f"{READING}.disk": "RtmpumpSpoolRefusing",
    f"{READING}.no_lock": "RtmpumpNoneActive",
    PUBLISHING: "RtmpumpPublishingStopped",
    f"{PUBLISHING}.broker_blocked": "RtmpumpBrokerBlocked",
    f"{PUBLISHING}.nacked": "RtmpumpEventsNacked",
    COMMANDS: "RtmpumpCommandsStopped",
    f"{COMMANDS}.web_api": "RtmpumpWebApiDown",
    "spool_fills": "RtmpumpSpoolNearlyFull",
    "unrouted": "RtmpumpUnrouted",
    "gap": "RtmpumpGapUnfilled",
    "backfill": "RtmpumpGapUnfilled",
    "dead_letters": "RtmpumpDeadLetters",
}
"""The entries of the runbook: of links, of trips, of their reasons where one has its own."""
