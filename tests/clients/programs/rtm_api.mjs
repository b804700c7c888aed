// The client for RTM of JavaScript.
import { handle, tell } from "./bot.mjs";
import { RTMClient } from "@slack/rtm-api";

// The two settings: the address, and the token.
const rtm = new RTMClient(process.env.SLACK_BOT_TOKEN, { slackApiUrl: process.env.SLACK_API_URL });

rtm.on("ready", () => tell({ connected: true }));
rtm.on("message", (event) => handle(event, (message) => rtm.addOutgoingEvent(true, "message", message)));
rtm.on("pong", () => tell({ pong: true }));

await rtm.start();
