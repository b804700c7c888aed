"""`rtmpump gateway`: Slack's own client libraries in front of RabbitMQ.

A program connects here as it would to Slack; its events come from RabbitMQ, and what it calls goes
there as commands. All of it runs on one asyncio loop.

- `server` starts and stops; `routes` is what is served under which path.
- `programs` holds who is known by which token.
- `broker` keeps the connection to RabbitMQ; `queues` declares the queue of each program and brings
  its bindings in line, which `notes` remembers; `dropped` counts what a full one lost, and `depths`
  what waits.
- `socket_face` is one WebSocket of Socket Mode, with the envelopes that `envelopes` makes.
- `rtm_face` is one WebSocket of RTM, with the events of the client's `rtm_shapes`.
- `commands` publishes commands and finds their results.
- What Slack itself would say, word by word, comes from `rtmpump.slack_side`.
- `counts` is what is measured, for `/metrics`; `page` shows it, and `troubles` is what RabbitMQ
  refuses. `reload` reads secrets again.
"""
