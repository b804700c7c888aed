// Draws the page from /status, and draws it again every two seconds.
//
// Laws:
// - Only this file draws. The server makes the frame (page.html) and what <noscript> shows.
// - A string from /status becomes text, never markup: `el` and `svg` make all elements.
// - PARTS fills the element of each id. A new field of /status is one line there or in `tiles`.
'use strict';

const EVERY = 2000, PATIENCE = 5000;
const SPAN = 900, HEIGHT = 200, GAPS_LISTED = 6, GROUP = 6, OTHER_COLOUR = 8, ERROR_LENGTH = 300, UNKNOWN = '–';
const NAMES = {
  slack: 'Slack', broker_events: 'RabbitMQ (events)', broker_commands: 'RabbitMQ (commands)',
  broker_lock: 'RabbitMQ (lock)', web_api: 'Slack (Web API)', channel_list: 'Slack (list of channels)',
};

// Numbers and times in words. Halves are rounded up.

function fixed(value, digits) {
  const scale = 10 ** digits;
  return (Math.floor(value * scale + 0.5) / scale).toLocaleString(
    'en-US', {minimumFractionDigits: digits, maximumFractionDigits: digits});
}

const trimmed = value => fixed(value, 2).replace(/\.?0+$/, '');

function rate(value) {
  if (value === 0) return '0';
  if (value < 0.01) return 'under 0.01';
  return fixed(value, value < 1 ? 2 : value < 100 ? 1 : 0);
}

function size(count) {
  for (const unit of ['B', 'KiB', 'MiB']) {
    if (count < 1024) return `${fixed(count, unit === 'B' ? 0 : 1)} ${unit}`;
    count /= 1024;
  }
  return `${fixed(count, 1)} GiB`;
}

function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole % 3600 / 60);
  if (hours < 24) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  return `${fixed(Math.floor(hours / 24), 0)} d ${hours % 24} h`;
}

function latency(seconds) {
  if (seconds === null) return UNKNOWN;
  if (seconds < 0.9995) return `${fixed(seconds * 1000, seconds < 0.01 ? 1 : 0)} ms`;
  return seconds < 60 ? `${fixed(seconds, 1)} s` : duration(seconds);
}

const quantile = (measured, name) =>
  measured[name] === null && measured.count ? 'over 1 h' : latency(measured[name]);
const moment = at => `${at.slice(0, 10)} ${at.slice(11, 19)} UTC`;
const since = (at, now) => duration((Date.parse(now) - Date.parse(at)) / 1000);
const counted = (count, one, many) => `${fixed(count, 0)} ${count === 1 ? one : many}`;
const nameOf = link => NAMES[link] ?? link;
const short = text => {
  const letters = [...text];
  return letters.length <= ERROR_LENGTH ? text : `${letters.slice(0, ERROR_LENGTH).join('')}…`;
};

// The chart: events per second, one band for each type on top of the other. Bands are steps and
// not slopes: what is known is how many events came in each bucket.

const sum = numbers => numbers.reduce((all, one) => all + one, 0);
const most = numbers => numbers.reduce((all, one) => Math.max(all, one), 0);
const digit = value => String(Math.floor(value * 10 + 0.5) / 10);

function chartOf(history) {
  const rates = Object.entries(history.received).map(
    ([type, counts]) => [type, counts.map((count, i) => count / history.seconds[i])]);
  let floors = history.seconds.map(() => 0);
  const totals = floors.map((_, i) => sum(rates.map(([, each]) => each[i])));
  const top = roundTop(most(totals));
  const bands = rates.map(([type, each], place) => {
    const ceilings = floors.map((low, i) => low + each[i]);
    const path = outline(edges(history.seconds), floors, ceilings, top);
    floors = ceilings;
    return {
      type, path, colour: type === 'other' ? OTHER_COLOUR : place, now: each.at(-1),
      most: most(each), events: sum(history.received[type]),
    };
  });
  return {top, now: totals.at(-1) ?? 0, most: most(totals), bands, minutes: minutesOf(history)};
}

// Where buckets begin and end, the newest at the right; one more than there are buckets.
function edges(seconds) {
  const found = [SPAN];
  for (const span of [...seconds].reverse()) found.push(Math.max(0, found.at(-1) - span));
  return found.reverse();
}

// The least of 0.5, 1, 2, 5, 10, 20 … that is not below the value.
function roundTop(value) {
  let top = 0.5;
  for (let place = 0; top < value; place += 1) top *= [2, 2, 2.5][place % 3];
  return top;
}

function outline(at, floors, ceilings, top) {
  const y = value => digit(HEIGHT - HEIGHT * value / top);
  const there = ceilings.map((high, i) => `V${y(high)}H${digit(at[i + 1])}`);
  const back = floors.map((low, i) => `V${y(low)}H${digit(at[i])}`).reverse();
  return `M${digit(at[0])} ${HEIGHT}${there.join('')}${back.join('')}Z`;
}

// Events per second in about a minute each, the newest first.
function minutesOf(history) {
  const minutes = [];
  for (let end = history.at.length; end > 0; end -= GROUP) {
    const part = numbers => sum(numbers.slice(Math.max(0, end - GROUP), end));
    const span = part(history.seconds);
    const each = Object.values(history.received).map(counts => part(counts) / span);
    minutes.push({until: history.at[end - 1], all: sum(each), each});
  }
  return minutes;
}

// The chart in words, for people who do not see it.
// The gaps that end inside the chart, with the places where they begin and end. The chart ends with
// its newest bucket, so a gap may be newer than that.
function gapsOf({slack, history, now}) {
  const end = Date.parse(history.at.at(-1) ?? now);
  const place = at => Math.min(SPAN, Math.max(0, SPAN - (end - Date.parse(at)) / 1000));
  return slack.gaps.recent.filter(gap => place(gap.to) > 0)
    .map(gap => ({...gap, begins: place(gap.from), ends: place(gap.to)}));
}

const clock = at => at.slice(11, 19);
const gapTimes = gap =>
  `${clock(gap.from)} to ${clock(gap.to)} UTC (${since(gap.from, gap.to)}), ${gap.reason}`;
const toneOf = gap => gap.filled ? 'idle' : 'bad';
const gapEnd = gap => gap.filled ? 'filled' : `not filled: ${gap.note}`;

function describe(chart, gaps = []) {
  if (!chart.minutes.length) {
    return 'Events per second over the last 15 minutes: nothing is counted yet.';
  }
  const byType = chart.bands.map(band => ` ${band.type}: ${rate(band.now)} now.`).join('');
  const missing = gaps.map(gap => ` Gap: ${gapTimes(gap)}.`).join('');
  return `Events per second over the last 15 minutes: ${rate(chart.now)} now, ` +
    `${rate(chart.most)} at most.${byType}${missing}`;
}

// Elements.

function make(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const el = (name, attributes, ...children) =>
  make(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) =>
  make(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);

const time = at => el('time', {datetime: at}, moment(at));
// For a narrow column: it breaks only between the day and the time.
const dayAndTime = at => el('time', {datetime: at},
  el('span', {}, at.slice(0, 10)), ' ', el('span', {}, at.slice(11, 19)));
const upOrDown = up => el('b', {'data-tone': up ? 'ok' : 'bad'}, up ? 'up' : 'down');

const row = (head, ...cells) => el('tr', {}, el('th', {scope: 'row'}, ...[head].flat()),
  ...cells.map(cell => el('td', {}, ...[cell].flat())));
const rows = (found, none, columns) => found.length ? found
  : [el('tr', {}, el('td', {colspan: columns, class: 'faint'}, none))];

// All links, also those that are wanted and of which nothing is known yet.
function states(status) {
  const unknown = {up: null, since: '', last_error: '', next_try_at: ''};
  const wanted = status.wanted.map(link => [link, unknown]);
  return {...Object.fromEntries(wanted), ...status.links};
}

const LEVELS = {bad: 'Also wrong', warn: 'Watch out', note: 'Note'};
// What stands between backticks is to be typed.
const words = text => text.split('`').map((part, place) => place % 2 ? el('code', {}, part) : part);
const entry = name => name
  ? ['Runbook: ', el('a', {href: `runbook#${name.toLowerCase()}`}, name)] : [];
const problem = ({level, what, means, fix, runbook}) =>
  el('li', {'data-tone': level === 'note' ? 'idle' : level},
    el('b', {}, `${LEVELS[level] ?? 'Note'}: ${what}.`), means && ` ${means}`,
    ...words(fix && ` ${fix}.`), runbook && ' ', ...entry(runbook));

function link(name, state, now, isWanted) {
  const [tone, word] = state.up ? ['ok', 'Up'] : !isWanted ? ['idle', 'Resting']
    : state.up === null ? ['warn', 'Not tried yet'] : ['bad', 'Down'];
  const lasts = state.since ? ` for ${since(state.since, now)}` : '';
  const card = el('li', {'data-tone': tone}, el('h3', {}, nameOf(name)),
    el('p', {class: 'state'}, word + lasts));
  if (state.since) card.append(el('p', {class: 'faint'}, 'since ', time(state.since)));
  if (state.last_error) {
    const ago = since(state.last_error_at, now), error = el('code', {}, short(state.last_error));
    card.append(el('p', {class: 'error'}, `Last error, ${ago} ago: `, error));
  }
  if (state.next_try_at) {
    card.append(el('p', {class: 'faint'}, `Next try in ${since(now, state.next_try_at)}`));
  }
  return card;
}

const tile = (term, value, more) => el('div', {}, el('dt', {}, term), el('dd', {}, ...value),
  el('dd', {class: 'faint'}, more));
const quantiles = measured => ['p50', 'p99'].map(
  name => el('span', {}, quantile(measured, name), ' ', el('small', {}, name)));

function spoolTile(spool, fullIn) {
  if (spool === null) {
    return tile('Events in the spool', [UNKNOWN], 'the spool cannot be measured now');
  }
  const oldest = spool.events ? `; the oldest has waited ${duration(spool.oldest_seconds)}` : '';
  const room = fullIn === null ? '' : `; room for ${duration(fullIn)} at the present rate`;
  const share = el('small', {}, `${trimmed(spool.percent)} % full`);
  return tile('Events in the spool', [fixed(spool.events, 0), ' ', share],
    `${size(spool.bytes)} of ${size(spool.max_bytes)}${oldest}${room}`);
}

function gapTile({gaps: {number, last}}) {
  if (last === null) return tile('Gaps since the start', [fixed(number, 0)], 'none was announced');
  return tile('Gaps since the start', [fixed(number, 0)],
    `the last from ${moment(last.from)} to ${moment(last.to)} (${last.reason}), ${gapEnd(last)}`);
}

function backfillTile({backfill}) {
  const {on, pending, conversations, messages, waits_for: waits} = backfill;
  if (!on) return tile('Gaps to fill', [UNKNOWN], 'events.backfill is off');
  const so = `${fixed(conversations, 0)} conversations, ${counted(messages, 'message', 'messages')} so far`;
  return tile('Gaps to fill', [fixed(pending, 0)],
    pending ? `${so}${waits && `; waits for ${waits}`}` : 'all is filled');
}

function slackTiles({slack}) {
  const {workspace: {id, name, bot}, mode} = slack;
  return [
    tile('Workspace', [name || UNKNOWN], id ? `${id}, bot ${bot}` : 'not connected yet'),
    tile('Mode', [{rtm: 'RTM', socket: 'Socket Mode'}[mode] ?? UNKNOWN],
      `${slack.websockets} of ${counted(slack.websockets_wanted, 'WebSocket', 'WebSockets')}`),
    gapTile(slack),
    backfillTile(slack),
  ];
}

function tiles({metrics, recent, full_in_seconds: fullIn}) {
  const {confirm_latency: confirms, command_latency: commands} = recent;
  const {commands_waiting: waiting, slack_rtt_seconds: roundTrip} = metrics;
  const span = duration(recent.seconds);
  const wait = waiting === null ? '' : `; ${fixed(waiting, 0)} waiting now`;
  return [
    spoolTile(metrics.spool, fullIn),
    tile('From frame to confirm', quantiles(confirms),
      `${counted(confirms.count, 'event', 'events')} in the last ${span}`),
    tile('From command to result', quantiles(commands),
      `${counted(commands.count, 'command', 'commands')} in the last ${span}${wait}`),
    tile('Slack round trip', [latency(roundTrip)],
      roundTrip === null ? 'not measured yet' : 'the last ping'),
  ];
}

function totals({metrics: {events}, recent: {returned, confirm_latency: confirms}}) {
  // When it is every event, it is no side remark.
  const all = returned >= Math.max(10, confirms.count * 0.95);
  const counts = [
    [events.received, 'received from Slack'],
    [events.confirmed, "confirmed by RabbitMQ (with the pump's own)"],
    [events.returned, 'that no queue took', all ? 'warn' : ''],
    [events.nacked, 'refused by RabbitMQ and sent again'],
    [sum(Object.values(events.dropped)), 'ignored or dropped'],
  ].filter(([count], place) => count || place < 2);
  const words = counts.map(([count, what, tone]) => {
    const text = `${fixed(count, 0)} ${what}`;
    return tone ? el('b', {'data-tone': tone}, text) : text;
  });
  return ['Since the start: ', ...words.flatMap((one, place) => place ? [', ', one] : [one]), '.'];
}

const drawing = (chart, gaps) => [
  ...['M0 0H900', 'M0 100H900', 'M300 0V200', 'M600 0V200'].map(
    d => svg('path', {class: 'grid', d})),
  ...chart.bands.map(band =>
    svg('path', {class: `k${band.colour}`, d: band.path}, svg('title', {}, band.type))),
  ...gaps.map(gap => {
    const [left, right] = [gap.begins, gap.ends].map(digit);
    return svg('g', {'data-tone': toneOf(gap)},
      svg('rect', {class: 'gap', x: left, y: 0, height: HEIGHT, width: digit(right - left)}),
      svg('path', {class: 'gap', d: `M${right} 0V${HEIGHT}`}));
  }),
];

// Above the chart, where nothing stretches them.
function flag(gap) {
  const made = el('span', {'data-tone': toneOf(gap), title: `Gap: ${gapTimes(gap)}; ${gapEnd(gap)}`}, '▼');
  made.style.left = `${digit(100 * gap.ends / SPAN)}%`;
  return made;
}

const gapRow = gap => el('li', {}, el('b', {'data-tone': toneOf(gap)}, '▼ Gap: '),
  `${gapTimes(gap)}; ${gapEnd(gap)}`);

function gapRows(gaps) {
  const newest = [...gaps].reverse(), more = newest.length - GAPS_LISTED;
  const rest = more > 0 ? [el('li', {class: 'faint'}, `and ${more} before`)] : [];
  return [...newest.slice(0, GAPS_LISTED).map(gapRow), ...rest];
}

function deadNow({metrics: {dead_letters_waiting: count}, queues: {dead_queue: queue}}) {
  const place = [' in ', el('code', {}, queue), ' now'];
  if (count === null) return ['It is not known how many are', ...place];
  return [el('b', {'data-tone': count ? 'warn' : 'ok'}, fixed(count, 0)), ...place];
}

const typeRows = chart => rows(
  chart.bands.map(band => row([el('i', {class: `k${band.colour}`}), band.type],
    rate(band.now), rate(band.most), fixed(band.events, 0))),
  chart.minutes.length ? 'No event came' : 'The first ten seconds are being counted', 4);

const minuteHead = chart => [el('tr', {},
  ...['Until (UTC)', 'all', ...chart.bands.map(band => band.type)].map(
    name => el('th', {scope: 'col'}, name)))];

const minuteRows = chart => rows(
  chart.minutes.map(minute => row(
    el('time', {datetime: minute.until}, minute.until.slice(11, 19)),
    rate(minute.all), ...minute.each.map(rate))),
  'Nothing is counted yet', 2);

const commandRows = metrics => rows([
  ...Object.entries(metrics.commands).flatMap(([type, results]) =>
    Object.entries(results).map(([result, count]) => row(type, result, fixed(count, 0)))),
  ...[metrics.results_undeliverable].filter(count => count).map(
    count => row('any', 'result reached nobody', fixed(count, 0))),
], 'None yet', 3);

const deadLetterRows = dead => rows(
  Object.entries(dead).map(([code, count]) => row(code, fixed(count, 0))), 'None', 2);

const changeRows = changes => rows(
  [...changes].reverse().map(change => row(dayAndTime(change.at), nameOf(change.link),
    [upOrDown(change.up), ' ', short(change.why)])),
  'None yet', 3);

// What stands in the element of each id; page.html has the elements.

const PARTS = {
  about: status => [`Version ${status.version}, process ${status.pid}, ` +
    `running for ${duration(status.uptime_seconds)}`],
  as_of: status => [time(status.now)],
  links: status => Object.entries(states(status)).map(
    ([name, state]) => link(name, state, status.now, status.wanted.includes(name))),
  rate: (_, chart) => [rate(chart.now)],
  totals: status => totals(status),
  ticks: (_, {top}) => [top, top / 2, 0].map(value => el('span', {}, trimmed(value))),
  chart: (_, chart, gaps) => drawing(chart, gaps),
  flags: (_, chart, gaps) => gaps.map(flag),
  gaps: (_, chart, gaps) => gapRows(gaps),
  types: (_, chart) => typeRows(chart),
  minutes_head: (_, chart) => minuteHead(chart),
  minutes: (_, chart) => minuteRows(chart),
  tiles: status => tiles(status),
  commands: status => commandRows(status.metrics),
  slack: status => slackTiles(status),
  dead_now: status => deadNow(status),
  means: ({verdict}) => [verdict.means],
  fix: ({verdict}) => words(verdict.fix && `What to do: ${verdict.fix}.`),
  runbook: ({verdict}) => entry(verdict.runbook),
  more: ({verdict}) => verdict.more.map(problem),
  dead_letters: status => deadLetterRows(status.metrics.dead_letters),
  changes: status => changeRows(status.changes),
};

const byId = id => document.getElementById(id);

function put(id, children) {
  const target = byId(id), made = target.cloneNode(false);
  made.append(...children);
  // What is the same stays: so does a selection in it, and a screen reader's place.
  if (made.innerHTML !== target.innerHTML) target.replaceChildren(...made.childNodes);
}

function announce(tone, sentence) {
  byId('banner').dataset.tone = tone;
  put('verdict', [sentence]);
  document.title = `rtmpump: ${sentence}`;
}

function show(status) {
  const chart = chartOf(status.history), gaps = gapsOf(status);
  announce(status.verdict.tone, status.verdict.what);
  for (const [id, part] of Object.entries(PARTS)) put(id, part(status, chart, gaps));
  byId('chart').setAttribute('aria-label', describe(chart, gaps));
  byId('live').hidden = byId('content').hidden = false;
}

// The life of the page.

async function ask() {
  const answer = await fetch('status', {signal: AbortSignal.timeout(PATIENCE)});
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

function lost() {
  if (document.body.dataset.live === 'lost') return;
  document.body.dataset.live = 'lost';
  const last = byId('as_of').textContent;
  for (const id of ['means', 'fix', 'runbook', 'more']) put(id, []);
  announce('bad', `rtmpump does not answer${last && `; this is how it was at ${last}`}`);
}

const isPaused = () => byId('pause').getAttribute('aria-pressed') === 'true';

async function live() {
  if (!document.hidden && !isPaused()) {
    const status = await ask().catch(lost);
    if (status && status.version !== document.body.dataset.version) return location.reload();
    if (status) {
      document.body.dataset.live = 'yes';
      show(status);
    }
  }
  setTimeout(live, EVERY);
}

byId('pause').addEventListener('click', ({currentTarget: button}) => {
  button.setAttribute('aria-pressed', String(!isPaused()));
  put('pace', [isPaused() ? 'paused' : 'updated every 2 s']);
});
announce('idle', 'Waiting for the first answer');
live();
