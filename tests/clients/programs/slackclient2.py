"""The client for RTM of slackclient 2, whose module is `slack`."""

import os

import bot
from slack import RTMClient

# The two settings: the address, and the token.
client = RTMClient(token=os.environ["SLACK_BOT_TOKEN"], base_url=os.environ["SLACK_API_URL"])


@RTMClient.run_on(event="hello")
def hello(**payload):
    """See that it is connected."""
    bot.tell(connected=True)


@RTMClient.run_on(event="message")
def message(rtm_client, data, **payload):
    """Take an event."""
    text = data.get("text")
    if text == "send":
        first = bot.MESSAGES[0][0]
        frame = {"id": 1, "type": "message", "channel": data["channel"], "text": first}
        rtm_client.send_over_websocket(payload=frame)
    elif text == "ping":
        rtm_client.send_over_websocket(payload={"type": "ping"})
    else:
        bot.handle(data, None)


@RTMClient.run_on(event="Unknown")
def reply(rtm_client, data, **payload):
    """See replies: they have no type."""
    if data.get("ok") and "reply_to" in data:
        bot.tell(sent=data["text"], ts=data["ts"])
        if data["reply_to"] == 1:
            for number, frame in enumerate(bot.messages("C0GENERAL", data["ts"]), 2):
                frame = {"id": number, "type": "message", **frame}
                rtm_client.send_over_websocket(payload=frame)


@RTMClient.run_on(event="pong")
def pong(**payload):
    """Take the answer to a ping."""
    bot.tell(pong=True)


client.start()
