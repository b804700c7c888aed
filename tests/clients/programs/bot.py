"""What the programs in Python have in common: they know no library, and print what happened.

Each line that they print is a JSON object: `{"connected": true}`; `{"arrived": 3}` for an event in
the order of the WebSocket, where the library may handle events in another one; `{"handled": 3}`;
`{"sent": "one", "ts": "…"}` for a message that Slack took; `{"pong": true}`.
"""

import json
import threading

# What a bot says when it is asked to send: text, whether in the thread of the first, and broadcast.
MESSAGES = [
    ("one", False, False),
    ("two", True, False),
    ("three", True, True),
    ("four", True, False),
    ("five", False, False),
]
FORM = {
    "type": "modal",
    "callback_id": "form",
    "title": {"type": "plain_text", "text": "A form"},
    "submit": {"type": "plain_text", "text": "Save"},
    "blocks": [
        {
            "type": "input",
            "block_id": "name",
            "label": {"type": "plain_text", "text": "Name"},
            "element": {"type": "plain_text_input", "action_id": "name"},
        },
        {
            "type": "input",
            "block_id": "city",
            "optional": True,
            "label": {"type": "plain_text", "text": "City"},
            "element": {"type": "external_select", "action_id": "city", "min_query_length": 1},
        },
    ],
}
ERRORS = {"name": "is taken"}
OPTIONS = [{"text": {"type": "plain_text", "text": "Berlin"}, "value": "berlin"}]

_lock = threading.Lock()


def tell(**fields):
    """Print one line; any thread may call."""
    with _lock:
        print(json.dumps(fields), flush=True)


def number_of(event):
    """Return the number of an event of the judge; None for another one."""
    word, _, number = str(event.get("text", "")).partition(" ")
    return int(number) if word == "event" else None


def frame(raw):
    """Take a frame as the library hands it out before anything else."""
    if not raw.startswith("{"):
        return
    members = json.loads(raw)
    if members.get("type") == "hello":
        tell(connected=True)
    event = members.get("payload", {}).get("event") or members
    if (number := number_of(event)) is not None:
        tell(arrived=number)


def messages(channel, first_ts):
    """Yield the messages after the first, as arguments of a call or members of a frame."""
    for text, in_thread, is_broadcast in MESSAGES[1:]:
        more = {"thread_ts": first_ts} if in_thread else {}
        more |= {"reply_broadcast": True} if is_broadcast else {}
        yield {"channel": channel, "text": text, **more}


def handle(event, post):
    """Handle an event; `post` takes the arguments of chat.postMessage and returns its answer."""
    if (number := number_of(event)) is not None:
        tell(handled=number)
    if event.get("text") == "send":
        channel = event["channel"]
        first = post(channel=channel, text=MESSAGES[0][0])
        tell(sent=MESSAGES[0][0], ts=first["ts"])
        for arguments in messages(channel, first["ts"]):
            tell(sent=arguments["text"], ts=post(**arguments)["ts"])


def answer(kind, payload):
    """Return what belongs into the acknowledgement of a command or an interaction, or None."""
    if payload.get("command") == "/deploy":
        return {"text": f"deploying {payload['text']}"}
    if payload.get("type") == "view_submission":
        return {"response_action": "errors", "errors": ERRORS}
    if payload.get("type") == "block_suggestion":
        return {"options": OPTIONS}
    return None
