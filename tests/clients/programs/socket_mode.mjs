// The client for Socket Mode of JavaScript, without Bolt.
import { answer, FORM, handle, tell } from "./bot.mjs";
import { SocketModeClient } from "@slack/socket-mode";
import { WebClient } from "@slack/web-api";

// The two settings: the address, for both clients, and the tokens.
const options = { slackApiUrl: process.env.SLACK_API_URL };
const socket = new SocketModeClient({ appToken: process.env.SLACK_APP_TOKEN, clientOptions: options });
const web = new WebClient(process.env.SLACK_BOT_TOKEN, options);

socket.on("connected", () => tell({ connected: true }));
socket.on("message", async ({ ack, event }) => {
  await ack();
  await handle(event, (message) => web.chat.postMessage(message));
});
socket.on("slash_commands", async ({ ack, body }) => {
  await ack(answer(body));
  if (body.command === "/form") await web.views.open({ trigger_id: body.trigger_id, view: FORM });
});
socket.on("interactive", ({ ack, body }) => ack(answer(body)));

await socket.start();
