"""The show behind `rtmpump demo`: all of it for real, with an audience that counts.

- `chatter`: what a lively workspace says, and what a service has to say to it; pure, seeded.
- `tally`: what was emitted, received, told as missed, answered; and so what was lost.
- `stage`: what runs where: the simulated workspace, the RabbitMQ node, the pump's process.
- `line`: one connection to RabbitMQ on a thread of its own, for the consumer and the sender.
- `strikes`: what `--chaos` breaks, and when.
- `screen`: what people see of it.
- `show`: the acts in their order, and the end of all that was started.
"""
