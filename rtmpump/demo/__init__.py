"""The show behind `rtmpump demo`: the real pump between a simulated Slack and a real RabbitMQ.

- `chatter`: the events of a lively workspace and the commands of a service; pure, with a seed.
- `tally`: what was emitted, received, announced as missed, and answered; from that, what was lost.
- `stage`: the names in RabbitMQ, and the pump as a process of its own.
- `line`: one connection to RabbitMQ on its own thread, for the consumer and the sender.
- `consumer`: receives the events. `speakers`: emit events, and enqueue commands.
- `strikes`: what `--chaos` breaks, and when.
- `screen`: what people see. `summary`: the count at the end.
- `interrupt`: what a signal does.
- `show`: the steps in their order, and the end of all that was started.
"""
