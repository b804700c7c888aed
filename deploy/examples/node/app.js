// A form behind /deploy: a select with options, input that is checked, a message at the end.
// The pump needs, beside Socket Mode:
//   slack.answered = ["slash_command", "interactive.block_suggestion", "interactive.view_submission"]
//   outbound.api_methods = ["views.open"]
import { randomUUID } from "node:crypto";
import amqp from "amqplib";

const services = ["billing", "search", "storage"];
const plain = (text) => ({ type: "plain_text", text });
const form = {
  type: "modal",
  callback_id: "deploy",
  title: plain("Deploy"),
  submit: plain("Plan it"),
  blocks: [
    {
      type: "input",
      block_id: "what",
      label: plain("Service"),
      element: { type: "external_select", action_id: "service", min_query_length: 0 },
    },
    { type: "input", block_id: "when", label: plain("Day"), element: { type: "datepicker", action_id: "day" } },
  ],
};

const url = process.env.AMQP_URL ?? "amqp://guest:guest@localhost:5672/%2F";
const connection = await amqp.connect(url);
const channel = await connection.createChannel();
const queue = "consumer.deploy-app-node";
await channel.assertQueue(queue, { durable: true, arguments: { "x-queue-type": "quorum" } });
await channel.bindQueue(queue, "rtm.slash_command", "#");
await channel.bindQueue(queue, "rtm.interactive", "#");

// The answer stands in Slack's acknowledgement; an empty one only acknowledges.
function answer({ replyTo, correlationId }, payload) {
  if (replyTo === undefined) return;
  const body = payload === undefined ? "" : JSON.stringify(payload);
  channel.sendToQueue(replyTo, Buffer.from(body), { correlationId });
}

function command(fields) {
  const options = { persistent: true, messageId: randomUUID() };
  channel.sendToQueue("rtm.outbound", Buffer.from(JSON.stringify(fields)), options);
}

function submitted(asked) {
  const { what, when } = asked.view.state.values;
  const day = when.day.selected_date;
  if (day < new Date().toISOString().slice(0, 10)) {
    return { response_action: "errors", errors: { when: "Choose a day in the future." } };
  }
  const service = what.service.selected_option.value;
  command({ channel: "general", text: `<@${asked.user.id}>: ${service} will be deployed on ${day}.` });
  return undefined;
}

await channel.consume(queue, (message) => {
  // null: somebody deleted the queue.
  if (message === null) process.exit(1);
  const asked = JSON.parse(message.content.toString());
  switch (message.fields.routingKey) {
    case "slash_command":
      command({ type: "api", method: "views.open", arguments: { trigger_id: asked.trigger_id, view: form } });
      answer(message.properties);
      break;
    case "interactive.block_suggestion": {
      const found = services.filter((name) => name.startsWith(asked.value));
      answer(message.properties, { options: found.map((name) => ({ text: plain(name), value: name })) });
      break;
    }
    case "interactive.view_submission":
      answer(message.properties, submitted(asked));
  }
  channel.ack(message);
});
console.error("waiting for /deploy");
process.once("SIGINT", () => connection.close());
