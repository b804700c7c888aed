// What the programs in JavaScript have in common; bot.py says which lines they print.
export const MESSAGES = [
  ["one", false, false],
  ["two", true, false],
  ["three", true, true],
  ["four", true, false],
  ["five", false, false],
];
const text = (words) => ({ type: "plain_text", text: words });
export const FORM = {
  type: "modal",
  callback_id: "form",
  title: text("A form"),
  submit: text("Save"),
  blocks: [
    {
      type: "input",
      block_id: "name",
      label: text("Name"),
      element: { type: "plain_text_input", action_id: "name" },
    },
    {
      type: "input",
      block_id: "city",
      optional: true,
      label: text("City"),
      element: { type: "external_select", action_id: "city", min_query_length: 1 },
    },
  ],
};
export const ERRORS = { name: "is taken" };
export const OPTIONS = [{ text: text("Berlin"), value: "berlin" }];

// Writes one line; the libraries write their log to standard output too, so each is a line alone.
export const tell = (fields) => process.stdout.write(`${JSON.stringify(fields)}\n`);

export async function handle(event, post) {
  const number = /^event (\d+)$/.exec(event.text ?? "");
  if (number) tell({ handled: Number(number[1]) });
  if (event.text !== "send") return;
  let first;
  for (const [words, inThread, isBroadcast] of MESSAGES) {
    const message = { channel: event.channel, text: words };
    if (inThread) message.thread_ts = first;
    if (isBroadcast) message.reply_broadcast = true;
    const { ts } = await post(message);
    first ??= ts;
    tell({ sent: words, ts });
  }
}

export function answer(payload) {
  if (payload.command === "/deploy") return { text: `deploying ${payload.text}` };
  if (payload.type === "view_submission") return { response_action: "errors", errors: ERRORS };
  if (payload.type === "block_suggestion") return { options: OPTIONS };
  return undefined;
}
