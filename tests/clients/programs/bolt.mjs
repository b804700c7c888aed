// An app of @slack/bolt in Socket Mode.
import { ERRORS, FORM, handle, OPTIONS, tell } from "./bot.mjs";
import bolt from "@slack/bolt";

// The two settings: the address, and the tokens.
const app = new bolt.App({
  socketMode: true,
  token: process.env.SLACK_BOT_TOKEN,
  appToken: process.env.SLACK_APP_TOKEN,
  clientOptions: { slackApiUrl: process.env.SLACK_API_URL },
});

app.event("message", ({ event, client }) => handle(event, (message) => client.chat.postMessage(message)));
app.command("/deploy", ({ ack, command }) => ack(`deploying ${command.text}`));
app.command("/form", async ({ ack, command, client }) => {
  await ack();
  await client.views.open({ trigger_id: command.trigger_id, view: FORM });
});
app.view("form", ({ ack }) => ack({ response_action: "errors", errors: ERRORS }));
app.options("city", ({ ack }) => ack({ options: OPTIONS }));

await app.start();
tell({ connected: true });
