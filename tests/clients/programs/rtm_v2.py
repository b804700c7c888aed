"""The client for RTM of slack_sdk."""

import json
import os

import bot
from slack_sdk.rtm_v2 import RTMClient

# The two settings: the address, and the token.
client = RTMClient(token=os.environ["SLACK_BOT_TOKEN"], base_url=os.environ["SLACK_API_URL"])


def reply(raw):
    """See replies: they have no type, so no listener of events gets them."""
    members = json.loads(raw) if raw.startswith("{") else {}
    if members.get("ok") and "reply_to" in members:
        bot.tell(sent=members["text"], ts=members["ts"])
        if members["reply_to"] == 1:
            for number, frame in enumerate(bot.messages("C0GENERAL", members["ts"]), 2):
                client.send({"id": number, "type": "message", **frame})


@client.on("message")
def message(client, event):
    """Take an event."""
    text = event.get("text")
    if text == "send":
        first = bot.MESSAGES[0][0]
        client.send({"id": 1, "type": "message", "channel": event["channel"], "text": first})
    elif text == "ping":
        client.send({"id": 99, "type": "ping"})
    else:
        bot.handle(event, None)


@client.on("pong")
def pong(client, event):
    """Take the answer to a ping."""
    bot.tell(pong=True)


client.on_message_listeners += [bot.frame, reply]
client.start()
