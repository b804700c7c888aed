// The Node.js pair: Slack's own RTM client and amqplib with confirms, no disk between.
// node native.js API_URL TOKEN BROKER_URL EXCHANGE
import { RTMClient } from '@slack/rtm-api';
import amqp from 'amqplib';

const WINDOW = 1024;
const [apiUrl, token, brokerUrl, exchange] = process.argv.slice(2);
const connection = await amqp.connect(brokerUrl);
const channel = await connection.createConfirmChannel();
const rtm = new RTMClient(token, { slackApiUrl: apiUrl, logLevel: 'error' });
const waiting = [];
let inFlight = 0;

// The client knows no pressure back to Slack: what is over the window waits in memory.
const publish = () => {
  while (inFlight < WINDOW && waiting.length) {
    const event = waiting.shift();
    const key = event.subtype ? `${event.type}.${event.subtype}` : event.type;
    inFlight += 1;
    channel.publish(exchange, key, Buffer.from(JSON.stringify(event)),
      { contentType: 'application/json', persistent: true },
      () => { inFlight -= 1; publish(); });
  }
};

rtm.on('slack_event', (type, event) => {
  if (type === 'hello') return;
  waiting.push(event);
  publish();
});
await rtm.start();
