"""Declares the exchanges with pika, as its pages show it; then prints one event."""

import sys

import pika

url, mode = sys.argv[1:]
with pika.BlockingConnection(pika.URLParameters(url)) as connection:
    channel = connection.channel()
    channel.exchange_declare("rtm.events", "topic", durable=True)
    channel.exchange_declare("rtm.message", "topic", durable=True)
    channel.queue_declare("by-pika", durable=True)
    channel.queue_bind("by-pika", "rtm.message", "#")
    channel.queue_bind("by-pika", "rtm.events", "unknown")
    for _, _, body in channel.consume("by-pika", auto_ack=True) if mode == "consume" else ():
        print(body.decode(), flush=True)
        if b"last" in body:
            break
