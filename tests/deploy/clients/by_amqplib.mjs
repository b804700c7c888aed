// Declares the exchanges with amqplib, in its ordinary way; then prints events until the last.
import amqp from 'amqplib';

const [url, mode] = process.argv.slice(2);
const connection = await amqp.connect(url);
const channel = await connection.createChannel();
await channel.assertExchange('rtm.events', 'topic');
await channel.assertExchange('rtm.message', 'topic');
await channel.assertQueue('by-amqplib');
await channel.bindQueue('by-amqplib', 'rtm.message', '#');
await channel.bindQueue('by-amqplib', 'rtm.events', 'unknown');
if (mode === 'consume') {
  await new Promise((resolve) => {
    channel.consume('by-amqplib', (message) => {
      channel.ack(message);
      console.log(message.content.toString());
      if (message.content.includes('last')) resolve();
    });
  });
}
await channel.close();
await connection.close();
