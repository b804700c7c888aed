// Prints the events of one type, each once, as they come: node consume.js reaction_added
import amqp from "amqplib";

const url = process.env.AMQP_URL ?? "amqp://guest:guest@localhost:5672/%2F";
const type = process.argv[2] ?? "message";
const queue = `example-node.${type}`;
const remembered = 10_000;
const seen = new Set();

// A repeat of an event has the same messageId.
function isNew(messageId) {
  if (seen.has(messageId)) return false;
  seen.add(messageId);
  if (seen.size > remembered) seen.delete(seen.values().next().value);
  return true;
}

const connection = await amqp.connect(url);
const channel = await connection.createChannel();
// Durable, so that events wait here while this program is away.
await channel.assertQueue(queue, { durable: true, arguments: { "x-queue-type": "quorum" } });
await channel.bindQueue(queue, `rtm.${type}`, "#");
await channel.prefetch(100);
await channel.consume(queue, (message) => {
  // null: somebody deleted the queue.
  if (message === null) process.exit(1);
  if (isNew(message.properties.messageId)) {
    const event = JSON.parse(message.content.toString());
    console.log(message.fields.routingKey, JSON.stringify(event));
  }
  // Only when the event was handled.
  channel.ack(message);
});
console.error(`waiting for events in ${queue}`);
process.once("SIGINT", () => connection.close());
