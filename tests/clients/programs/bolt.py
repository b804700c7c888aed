"""An app of slack_bolt with SocketModeHandler."""

import os

import bot
from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient

# The two settings: a client with the address, and the tokens.
token = os.environ["SLACK_BOT_TOKEN"]
app = App(token=token, client=WebClient(token=token, base_url=os.environ["SLACK_API_URL"]))
handler = SocketModeHandler(app, os.environ["SLACK_APP_TOKEN"])


@app.event("message")
def message(event, client):
    """Take an event."""
    bot.handle(event, client.chat_postMessage)


@app.command("/deploy")
def deploy(ack, command):
    """Answer a command."""
    ack(f"deploying {command['text']}")


@app.command("/form")
def form(ack, command, client):
    """Open a form."""
    ack()
    client.views_open(trigger_id=command["trigger_id"], view=bot.FORM)


@app.view("form")
def submitted(ack):
    """Refuse a form."""
    ack(response_action="errors", errors=bot.ERRORS)


@app.options("city")
def options(ack):
    """Offer options."""
    ack(options=bot.OPTIONS)


handler.client.on_message_listeners.append(bot.frame)
handler.start()
