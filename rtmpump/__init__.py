"""rtmpump: a Slack workspace as RabbitMQ exchanges, a RabbitMQ queue as Slack messages.

The inbound trip:

1. `links/slack_api.py` asks Slack for a WebSocket (`rtm.connect`), `links/rtm.py` opens it.
2. `pumps/reader.py` takes all frames that are ready; `core/frames.py` says what each one is and
   `core/session.py` what it means for the connection.
3. `spool.py` commits them to the disk: from here on they cannot be lost.
4. `pumps/publisher.py` reads the spool, `core/routes.py` names each event, and `links/rabbit.py`
   publishes it, many in flight; `core/window.py` keeps count.
5. The broker confirms, and the confirmed ones leave the spool.

In Socket Mode `links/socket_mode.py` stands in the place of `links/rtm.py`: several WebSockets that
look like one, the further ones opened by `pumps/dialer.py`. What is in an envelope is told in
`core/envelopes.py`; it is acknowledged after step 3, and opened in step 4.

What was missed: `pumps/reader.py` tells each gap, `gaps.py` keeps it, and `pumps/backfill.py`
fetches by `links/history.py` what was said meanwhile; `core/history.py` makes events of it, and
they go the same way from step 3 on.

The outbound trip:

1. `pumps/sender.py` is given a message of the queue `rtm.outbound`; `core/commands.py` makes a
   command of it, or a rejection.
2. `pumps/directory.py` turns the channel's name into its id; `core/arrivals.py` keeps the order of
   those that wait for it.
3. `core/lanes.py` lets it wait for its turn and for the rate limit of its channel.
4. `links/rtm.py` writes it to the same WebSocket; the reader brings Slack's reply back.
   In Socket Mode, as for commands of the type api, `links/caller.py` has `links/web_calls.py` call
   Slack's Web API instead.
5. `links/answers.py` publishes the result, or the dead letter, and only then acknowledges.

Of two pumps for one workspace `links/lease.py` makes one the active one (`core/claim.py` says what
proves it), and `pumps/turns.py` lets reader and sender work only then.

`supervisor.py` runs all of it, and stops it in the order of the data. `health.py` tells over HTTP
how it is, `page.py` draws that for people, and `spool_port.py` answers for the spool; `cli.py`
names the commands that ask. `links/topology.py` says what is declared in RabbitMQ, `sandbox/`
simulates the outside for the demo and the tests.
"""
