"""The client for Socket Mode that slack_sdk brings along."""

import os
from threading import Event

import bot
from slack_sdk import WebClient
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse

# The two settings: a web client with the address, and the tokens.
client = SocketModeClient(
    app_token=os.environ["SLACK_APP_TOKEN"],
    web_client=WebClient(token=os.environ["SLACK_BOT_TOKEN"], base_url=os.environ["SLACK_API_URL"]),
)


def take(client, request):
    """Acknowledge an envelope, with an answer where one belongs; then handle it."""
    payload = bot.answer(request.type, request.payload)
    response = SocketModeResponse(envelope_id=request.envelope_id, payload=payload)
    client.send_socket_mode_response(response)
    if request.type == "events_api":
        bot.handle(request.payload["event"], client.web_client.chat_postMessage)
    elif request.payload.get("command") == "/form":
        client.web_client.views_open(trigger_id=request.payload["trigger_id"], view=bot.FORM)


client.on_message_listeners.append(bot.frame)
client.socket_mode_request_listeners.append(take)
client.connect()
Event().wait()
