"""A simulated Slack workspace and a private RabbitMQ node: for `rtmpump demo` and for the tests.

- `slack.workspace.Workspace`: Slack's side of RTM and of Socket Mode on 127.0.0.1, as Slack
  documents it: Web API and WebSockets on one port, several workspaces at once. It can break every
  rule on request (`slack.faults.Faults`).
- `rabbitmq.node.RabbitNode`: a real RabbitMQ broker with its own ports and folder. It ends when its
  owner ends. It can be stopped, killed and started again with its data.
- `live_line.LiveLine`: what is being waited for, while one of these starts or stops.

The laws of this room: it knows no part of the program but `errors` and `slack_side`, which the pump
does not have, and needs only the standard library. So it can't share a mistake with the code that
it tests.
"""
