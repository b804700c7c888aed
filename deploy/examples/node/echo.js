// An echo bot: it says in a thread what people say in its channels.
import amqp from "amqplib";

const connection = await amqp.connect(process.env.AMQP_URL ?? "amqp://guest:guest@localhost:5672/%2F");
const channel = await connection.createChannel();
const { queue } = await channel.assertQueue("consumer.echo-node", { durable: true, arguments: { "x-queue-type": "quorum" } });
await channel.bindQueue(queue, "rtm.message", "message");
await channel.consume(queue, (message) => {
  const { channel: where, user, text, ts, bot_id } = JSON.parse(message.content.toString());
  if (text && !bot_id && user !== message.properties.headers.bot) {
    const body = JSON.stringify({ channel: where, text, thread_ts: ts });
    channel.sendToQueue("rtm.outbound", Buffer.from(body), { persistent: true, messageId: message.properties.messageId });
  }
  channel.ack(message);
});
console.error("waiting for messages");
process.once("SIGINT", () => connection.close());
