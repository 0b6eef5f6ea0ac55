// The page: asks every two seconds what has changed, shows it, and sends the actions of the buttons.

import { Detail } from './detail.js';
import { Row, monitorOf, processesOf, stateOf } from './table.js';
import { View } from './view.js';
import { span, took } from './words.js';

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
const view = new View();

const now = () => Date.now() / 1000 + ahead;

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
    const path = `ui/data?seen=${encodeURIComponent(seen)}`;
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
  const changed = [];
  for (const values of changes.rows) {
    const row = byPair[values[0]];
    const before = row.status;
    const monitor = { ...row.fixed, ...monitorOf(values) };
    row.show(monitor);
    if (row.detail) row.detail.refresh();
    if (before !== row.status) changed.push(row);
  }
  for (const row of view.rows) {
    row.showProcess(stateOf(changes.states[row.process.place]));
    row.allow(token !== '');
    row.age(now());
  }
  $('pausing').hidden = token === '';
  $('table').classList.toggle('readonly', token === '');
  showProblems(changes.problems);
  if (!isFirst && !changes.whole) announce(changed);
  summarize(changes.problems.length);
  if (changes.whole || !view.isInHand()) view.tidy();
  seen = changes.seen;
}

function build(changes) {
  const processes = processesOf(changes.processes);
  byPair = [];
  const open = new Set(view.rows.filter((row) => row.detail).map(key));
  const checked = new Set();
  for (const values of changes.rows) {
    const [place, check, type, onFailure, threshold] = values.slice(14);
    const row = new Row(processes[place], check);
    row.fixed = { type, onFailure, threshold };
    byPair[values[0]] = row;
    checked.add(place);
  }
  const unchecked = processes.filter((process) => !checked.has(process.place));
  view.rows = [...byPair, ...unchecked.map((process) => new Row(process, ''))];
  for (const row of view.rows) if (open.has(key(row))) row.detail = new Detail(row, ask);
}

const key = (row) => `${row.check}\n${row.process.namespec}`;

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
  if (problems) parts.push(`${problems} problem${problems === 1 ? '' : 's'} of the configuration`);
  $('verdict').textContent = parts.join(', ');
  $('verdict').className = sick || problems || !counts.healthy ? 'bad' : 'good';
  document.title = `${parts[0]} \u2013 health of ${location.host}`;
}

// -- buttons

async function press(row, action) {
  const request = { action, process: row.process.namespec };
  if (['run', 'pause', 'resume'].includes(action)) request.check = row.check;
  if (action === 'pause') request.seconds = Number($('seconds').value);
  if (action === 'restart' && !window.confirm(`Restart ${row.process.namespec}?`)) return;
  const what = `${row.process.namespec}${row.check && request.check ? `, ${row.check}` : ''}`;
  tell(`${what}: ${action} \u2026`, 'busy');
  try {
    const result = await ask('ui/action', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Health-Token': token },
      body: JSON.stringify(request),
    });
    if (action === 'run') {
      tell(`${what}: ${result.outcome} on demand in ${took(result.duration)}: ${result.reason}`, result.outcome);
    } else {
      tell(`${what}: ${action}, done`, 'done');
    }
  } catch (why) {
    tell(`${what}: cannot ${action}: ${why.message}`, 'failed');
  }
  poll();
}

function toggle(row) {
  if (row.detail) row.detail.close();
  else new Detail(row, ask).open();
}

function start() {
  $('where').textContent = location.host;
  $('rows').addEventListener('click', (event) => {
    const pressed = event.target.closest('button[data-action]');
    const row = pressed?.closest('tr').row;
    if (!row) return;
    view.goTo(row);
    if (pressed.dataset.action === 'more') toggle(row);
    else press(row, pressed.dataset.action);
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) poll();
  });
  setInterval(() => {
    if (document.hidden) return;
    for (const row of view.rows) row.age(now());
    if (misses) freshen($('freshness').title);
  }, 1000);
  poll();
}

start();
