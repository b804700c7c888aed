"""A simulated Slack workspace and a private RabbitMQ node: for `rtmpump demo` and for the tests.

- `workspace.Workspace`: Slack's RTM side on 127.0.0.1, as Slack documents it: Web API and WebSocket
  on one port, several workspaces at once. It can break every rule on request (`faults.Faults`).
- `rabbit.RabbitNode`: a real RabbitMQ broker with its own ports and folder, which is gone when its
  owner is gone. It can be stopped, killed and started again with its data.

The laws of this room: it knows nothing of the rest of the program but `errors`, and needs nothing
but the standard library, so that it can't share a mistake with what it tests.
"""
