"""The client for Socket Mode of slack_sdk that stands on the package websockets."""

import asyncio
import os

import bot
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.socket_mode.websockets import SocketModeClient
from slack_sdk.web.async_client import AsyncWebClient


async def handle(client, event):
    """Handle an event; the common bot knows no coroutines, so its calls go to the loop."""
    loop = asyncio.get_running_loop()

    def post(**arguments):
        call = client.web_client.chat_postMessage(**arguments)
        return asyncio.run_coroutine_threadsafe(call, loop).result()

    await asyncio.to_thread(bot.handle, event, post)


async def take(client, request):
    """Acknowledge an envelope, with an answer where one belongs; then handle it."""
    payload = bot.answer(request.type, request.payload)
    response = SocketModeResponse(envelope_id=request.envelope_id, payload=payload)
    await client.send_socket_mode_response(response)
    if request.type == "events_api":
        await handle(client, request.payload["event"])
    elif request.payload.get("command") == "/form":
        trigger = request.payload["trigger_id"]
        await client.web_client.views_open(trigger_id=trigger, view=bot.FORM)


async def arrived(_client, _message, raw):
    """See a frame before it is handled."""
    bot.frame(raw)


async def main():
    """Connect, and wait for ever."""
    # The two settings: a web client with the address, and the tokens.
    client = SocketModeClient(
        app_token=os.environ["SLACK_APP_TOKEN"],
        web_client=AsyncWebClient(
            token=os.environ["SLACK_BOT_TOKEN"], base_url=os.environ["SLACK_API_URL"]
        ),
    )

    client.message_listeners.append(arrived)
    client.socket_mode_request_listeners.append(take)
    await client.connect()
    await asyncio.Event().wait()


asyncio.run(main())
