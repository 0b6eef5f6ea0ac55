// The page: asks every two seconds what has changed, shows it, and sends the actions of the buttons.

import { Buttons } from './buttons.js';
import { Detail } from './detail.js';
import { Happened } from './happened.js';
import { Row, monitorOf, processesOf, stateOf } from './table.js';
import { View } from './view.js';
import { STATES, plural, span } from './words.js';

// In milliseconds.
const INTERVAL = 2000;
const HIDDEN_INTERVAL = 30000;
const LONGEST_INTERVAL = 30000;
const ANSWER_TIMEOUT = 10000;

const $ = (id) => document.getElementById(id);
// Without user and password, which the address may hold and fetch refuses.
const address = (path) => new URL(path, location.origin + location.pathname);

let seen = '';
let token = '';
let byPair = [];
let ahead = 0; // of supervisord's clock to ours, in seconds
let heardAt = 0;
let misses = 0;
let isAsking = false;
let isImpatient = false;
let timer = 0;
const now = () => Date.now() / 1000 + ahead;
const view = new View(now);
const happened = new Happened($('happened'));

// -- what has changed

async function ask(path, options) {
  const reply = await fetch(address(path), { cache: 'no-store', ...options });
  const body = await reply.json();
  if (!reply.ok) throw new Error(body.error);
  return body;
}

// One question at a time: an answer is about the rows of the one before.
async function poll() {
  clearTimeout(timer);
  if (isAsking) {
    isImpatient = true;
    return;
  }
  isAsking = true;
  let wait = await fetchChanges();
  if (isImpatient) wait = 0;
  isAsking = isImpatient = false;
  timer = setTimeout(poll, wait);
}

// Fetches and shows what has changed, and returns the milliseconds until the next time.
async function fetchChanges() {
  const wait = document.hidden ? HIDDEN_INTERVAL : INTERVAL;
  try {
    const path = `ui/data?${new URLSearchParams({ seen, event: happened.last })}`;
    const changes = await ask(path, { signal: AbortSignal.timeout(ANSWER_TIMEOUT) });
    if (!changes.complete) return INTERVAL / 20;
    show(changes);
    if (misses) tell('supervisord answers again', 'done');
    misses = 0;
    freshen('');
    return wait;
  } catch (why) {
    misses += 1;
    if (misses === 1) tell(`No answer from supervisord: ${why.message}`, 'failed');
    freshen(why.message);
    return Math.max(wait, Math.min(INTERVAL * 2 ** misses, LONGEST_INTERVAL));
  }
}

function show(changes) {
  const isFirst = !seen;
  token = changes.token;
  ahead = changes.now - Date.now() / 1000;
  heardAt = performance.now();
  if (changes.whole) build(changes);
  happened.take(changes.events, changes.adds);
  const changed = [];
  for (const row of view.rows) row.process.state = stateOf(changes.states[row.process.place]);
  for (const values of changes.rows) {
    const row = byPair[values[0]];
    const before = row.status;
    const monitor = { ...row.fixed, ...monitorOf(values) };
    row.show(monitor);
    if (before !== row.status) changed.push(row);
  }
  for (const line of view.tree.lines()) {
    line.isAllowed = token !== '';
    line.refresh();
    if (line.detail) line.detail.refresh();
  }
  $('pausing').hidden = token === '';
  $('table').classList.toggle('readonly', token === '');
  showProblems(changes.problems);
  if (!isFirst && !changes.whole) announce(changed);
  summarize(changes.problems.length);
  if (changes.whole || !view.isInHand()) view.tidy();
  view.age();
  seen = changes.seen;
}

function build(changes) {
  const processes = processesOf(changes.processes);
  byPair = [];
  const open = new Set(view.tree.lines().filter((line) => line.detail).map(key));
  const checked = new Set();
  for (const values of changes.rows) {
    const [place, check, type, onFailure, threshold] = values.slice(14);
    byPair[values[0]] = new Row(processes[place], check, { type, onFailure, threshold });
    checked.add(place);
  }
  const unchecked = processes.filter((process) => !checked.has(process.place));
  view.tree.build([...byPair, ...unchecked.map((process) => new Row(process, ''))]);
  for (const line of view.tree.lines()) if (open.has(key(line))) new Detail(line, sources);
}

const key = (line) => `${line.check ?? 'all'}\n${line.process ? line.process.namespec : line.title}`;

// What a detail asks of the page.
const sources = {
  ask,
  happened,
  statusOf: (namespec) => {
    const ofOne = view.rows.filter((row) => row.process.namespec === namespec);
    return STATES.find((state) => ofOne.some((row) => row.status === state)) || 'unchecked';
  },
};

function announce(changed) {
  if (!changed.length) return;
  const each = changed.map((row) => `${row.process.namespec}: ${row.check} is ${row.status}`);
  const more = each.length > 3 ? `; ${each.length - 3} more` : '';
  $('news').textContent = each.slice(0, 3).join('; ') + more;
}

function tell(text, kind) {
  $('message').textContent = text;
  $('message').className = kind;
}

function freshen(problem) {
  const age = heardAt ? `; this is ${span((performance.now() - heardAt) / 1000)} old` : '';
  $('freshness').textContent = misses ? `No answer from supervisord${age}` : 'Updates by itself';
  $('freshness').title = problem;
  document.body.classList.toggle('late', misses > 0);
  if (misses) document.title = `no answer \u2013 health of ${location.host}`;
}

function showProblems(problems) {
  const list = $('problems');
  list.hidden = !problems.length;
  if (list.dataset.shown === problems.join('\n')) return;
  list.dataset.shown = problems.join('\n');
  list.replaceChildren(...problems.map((problem) => {
    const item = document.createElement('li');
    item.textContent = problem;
    return item;
  }));
}

function summarize(problems) {
  const counts = view.count();
  const checks = view.rows.length - counts.unchecked;
  const sick = checks - counts.healthy - counts.paused - counts.inactive;
  const parts = [];
  if (sick) parts.push(`${sick} of ${checks} not healthy`);
  else if (!counts.healthy) parts.push('nothing is checked');
  else parts.push(counts.healthy === checks ? `all ${checks} healthy` : `${counts.healthy} healthy`);
  for (const state of ['paused', 'inactive']) if (counts[state]) parts.push(`${counts[state]} ${state}`);
  if (problems) parts.push(`${plural(problems, 'problem')} of the configuration`);
  $('verdict').textContent = parts.join(', ');
  $('verdict').className = sick || problems || !counts.healthy ? 'bad' : 'good';
  document.title = `${parts[0]} \u2013 health of ${location.host}`;
}

// -- buttons

const buttons = new Buttons({
  ask,
  act: (action) => ask('ui/action', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Health-Token': token },
    body: JSON.stringify(action),
  }).finally(poll),
  tell,
  note: (group, progress) => view.tree.note(group, progress),
});

function toggle(line) {
  if (line.detail) line.detail.close();
  else line.tr.after(new Detail(line, sources).tr);
}

function start() {
  $('live').hidden = false;
  $('where').textContent = location.host;
  $('rows').addEventListener('click', (event) => {
    const pressed = event.target.closest('button[data-action]');
    const line = pressed?.closest('#rows > tr').row;
    if (!line) return;
    view.goTo(line);
    if (pressed.dataset.action === 'more') toggle(line);
    else if (pressed.dataset.action === 'fold') view.fold(line);
    else buttons.press(line, pressed.dataset.action, pressed);
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) poll();
  });
  setInterval(() => {
    if (document.hidden) return;
    view.age();
    if (misses) freshen($('freshness').title);
  }, 1000);
  poll();
}

start();
