// Sends a message to Slack and waits for its result: node send.js general 'Hello world'
import { randomUUID } from "node:crypto";
import amqp from "amqplib";

const url = process.env.AMQP_URL ?? "amqp://guest:guest@localhost:5672/%2F";
const milliseconds = 30_000;
const [name, text, ...rest] = process.argv.slice(2);
if (text === undefined || rest.length > 0) fail("usage: node send.js CHANNEL TEXT");

function fail(why) {
  console.error(why);
  process.exit(1);
}

const id = randomUUID();
const connection = await amqp.connect(url);
const channel = await connection.createConfirmChannel();
// With `mandatory`, RabbitMQ gives the command back if the queue is not there.
channel.on("return", () => fail("there is no queue rtm.outbound"));
// RabbitMQ's direct reply-to: no queue to declare. It must be consumed before the command goes.
const replies = "amq.rabbitmq.reply-to";
const { promise, resolve } = deferred();
const onReply = (message) => {
  if (message?.properties.correlationId === id) resolve(JSON.parse(message.content.toString()));
};
await channel.consume(replies, onReply, { noAck: true });
channel.sendToQueue(
  "rtm.outbound",
  Buffer.from(JSON.stringify({ type: "message", channel: name, text })),
  {
    contentType: "application/json",
    persistent: true,
    mandatory: true,
    messageId: id,
    correlationId: id,
    replyTo: replies,
    // After that time this program no longer waits for the result.
    expiration: milliseconds,
  },
);
await channel.waitForConfirms();
const timer = setTimeout(() => fail(`no result within ${milliseconds / 1000} s`), milliseconds);
const result = await promise;
clearTimeout(timer);
await connection.close();
console.log(JSON.stringify(result));
process.exitCode = result.ok ? 0 : 1;

function deferred() {
  let resolve;
  const promise = new Promise((done) => { resolve = done; });
  return { promise, resolve };
}
