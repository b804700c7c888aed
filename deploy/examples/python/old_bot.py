"""A bot as they were written for slackclient 1; one import is changed, and no token is needed."""

import os
import time

from rtmpump.client.slackclient import SlackClient  # was: from slackclient import SlackClient

client = SlackClient(os.environ.get("AMQP_URL") or os.environ.get("SLACK_TOKEN"))

if client.rtm_connect():
    while client.server.connected is True:
        for event in client.rtm_read():
            if event.get("type") == "hello":
                print("connected", flush=True)
            if event.get("type") == "message" and event.get("text", "").startswith("!ping"):
                client.rtm_send_message(event["channel"], "pong", event["ts"])
        time.sleep(0.2)
else:
    print("Connection Failed")
