"""rtmpump: a Slack workspace as RabbitMQ exchanges, a RabbitMQ queue as Slack messages.

The inbound trip:

1. `links/slack/web_api.py` asks Slack for a WebSocket URL (`rtm.connect`), and
   `links/slack/rtm.py` opens it.
2. `pumps/reader.py` takes all frames that are ready. `core/frames.py` says what each one is, and
   `core/session.py` what it means for the connection.
3. `spool/` commits them to the disk: from here on they cannot be lost.
4. `pumps/publisher.py` reads the spool, `core/routes.py` names each event, and
   `links/rabbitmq/batch_publish.py` publishes it, many in flight. `core/confirm_window.py` keeps
   count.
5. RabbitMQ confirms, and the confirmed ones leave the spool.

In Socket Mode `links/slack/socket_mode.py` takes the place of `links/slack/rtm.py`: several
WebSockets that look like one, the further ones opened by `pumps/dialer.py`. Both implement
`links/slack/event_source.py`.
`core/envelopes.py` reads an envelope. It is acknowledged after step 3, and opened in step 4.

Gaps: `pumps/reader.py` announces each one, and `pumps/backfill/gap_file.py` keeps it.
`pumps/backfill/pump.py` fetches with `links/slack/history.py` what was said in the gap.
`core/missed_messages.py` makes events of it, and they go the same way from step 3 on.

The outbound trip:

1. `pumps/outbound/sender.py` receives a message of the queue `rtm.outbound`.
   `core/outbound/command_parsing.py` makes a command of it, or a rejection.
2. `pumps/directory.py` turns the channel's name into its id. `core/outbound/name_resolution.py`
   keeps the order of those that wait for it.
3. `pumps/outbound/dispatcher.py` decides when it goes. In `core/outbound/channel_queues.py` it
   waits for its turn and for the rate limit of its channel.
4. `pumps/outbound/rtm_writer.py` writes it to the same WebSocket, and the reader brings Slack's
   reply back. In Socket Mode, and for commands of the type api, `pumps/outbound/api_caller.py`
   has `pumps/web_api_workers.py` call Slack's Web API instead.
5. `links/rabbitmq/results.py` publishes the result, or the dead letter, and only then acknowledges.

Of two pumps for one workspace `pumps/lease.py` makes one the active one (`core/lock_claim.py` says
what proves it). `pumps/terms.py` lets reader and sender work only then.

`daemon/` runs all of it, and stops it in the order of the data. `http/` shows over HTTP how it is.
`cli/` holds the commands that a person types. `links/rabbitmq/topology.py` says what is declared in
RabbitMQ. `sandbox/` simulates the outside for the demo and the tests.
"""
