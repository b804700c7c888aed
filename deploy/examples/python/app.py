"""A form behind /deploy: a select filled from a database, checked input, a message at the end.

python app.py services.db; the pump needs, beside Socket Mode:
  slack.answered = ["slash_command", "interactive.block_suggestion", "interactive.view_submission"]
  outbound.api_methods = ["views.open"]
"""

import os
import sqlite3
import sys
from datetime import date

from rtmpump.client import Client

db = sqlite3.connect(sys.argv[1])


def plain(text):
    """Return what Slack wants for a text."""
    return {"type": "plain_text", "text": text}


def form():
    """Return the form, a modal."""
    select = {"type": "external_select", "action_id": "service", "min_query_length": 0}
    day = {"type": "datepicker", "action_id": "day"}
    return {
        "type": "modal",
        "callback_id": "deploy",
        "title": plain("Deploy"),
        "submit": plain("Plan it"),
        "blocks": [
            {"type": "input", "block_id": "what", "label": plain("Service"), "element": select},
            {"type": "input", "block_id": "when", "label": plain("Day"), "element": day},
        ],
    }


def options(typed):
    """Return the services that begin with what was typed."""
    rows = db.execute("SELECT name FROM services WHERE name LIKE ? LIMIT 100", (f"{typed}%",))
    return {"options": [{"text": plain(name), "value": name} for (name,) in rows]}


def planned(view):
    """Return what is wrong with the input, or what was planned."""
    values = view["state"]["values"]
    service = values["what"]["service"]["selected_option"]["value"]
    day = values["when"]["day"]["selected_date"]
    if day < date.today().isoformat():
        return {"when": "Choose a day in the future."}, ""
    return {}, f"{service} will be deployed on {day}."


with Client(os.environ.get("AMQP_URL", "")) as client:
    events = client.events("slash_command", "interactive.#", queue="consumer.deploy-app")
    print("waiting for /deploy", file=sys.stderr, flush=True)
    for event in events:
        asked = event.json()
        match event.subtype:
            case "":
                client.call("views.open", trigger_id=asked["trigger_id"], view=form())
                event.answer()
            case "block_suggestion":
                event.answer(options(asked["value"]))
            case "view_submission":
                wrong, words = planned(asked["view"])
                event.answer({"response_action": "errors", "errors": wrong} if wrong else None)
                if words:
                    client.send("general", f"<@{asked['user']['id']}>: {words}")
