// The table: one row for each check on a process, made once and then changed where it changed.

import { PROCESS_STATES, SIGNS, STATES, moment, next, restarts, results, span, why } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';
const CELL = 6;
const KEPT = 20;
const SHOWN_REASON = 160;
const ACTIONS = { run: 'Run', pause: 'Pause', restart: 'Restart', reset: 'Reset' };

// CSS lays the rows out as a grid, and some browsers then take them for no table: these roles say that they are one.
const ROLES = { tr: 'row', td: 'cell', th: 'rowheader' };

function element(tag, className, parent) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (ROLES[tag]) made.setAttribute('role', ROLES[tag]);
  if (parent) parent.append(made);
  return made;
}

// All text of services goes through here: it is text, never markup.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A long name breaks between group and process first.
function sayName(node, namespec) {
  const [, group, name] = namespec.match(/^([^:]*:)?(.*)$/s);
  if (group) {
    say(element('span', 'group', node), group);
    element('wbr', '', node);
  }
  node.append(name);
}

function button(parent, action) {
  const made = element('button', action, parent);
  made.type = 'button';
  made.tabIndex = -1;
  made.dataset.action = action;
  return made;
}

// The last results: cells, their durations as a line above, and marks where an instance of the process began.
class Strip {
  constructor(parent) {
    this.svg = document.createElementNS(SVG, 'svg');
    this.svg.setAttribute('role', 'img');
    this.svg.setAttribute('class', 'strip');
    this.paths = {};
    for (const name of ['passed', 'failed', 'error', 'line', 'begun']) {
      this.paths[name] = document.createElementNS(SVG, 'path');
      this.paths[name].setAttribute('class', name);
      this.svg.append(this.paths[name]);
    }
    parent.append(this.svg);
  }

  show(monitor) {
    const { letters, durations, beginnings } = monitor;
    const count = Math.max(letters.length, KEPT);
    const left = (place) => (count - letters.length + place) * CELL + 2;
    const longest = Math.max(...durations, 1);
    const d = { passed: '', failed: '', error: '', line: '', begun: '' };
    [...letters].forEach((letter, place) => {
      const x = left(place);
      if (letter === 'p') d.passed += `M${x} 20h5v8h-5z`;
      else if (letter === 'f') d.failed += `M${x} 14h5v14h-5z`;
      else d.error += `M${x} 14h5v5h-5zM${x} 23h5v5h-5z`;
      d.line += `${place ? 'L' : 'M'}${x + 2.5} ${(11 - (durations[place] / longest) * 9).toFixed(1)}`;
    });
    if (letters.length === 1) d.line += 'h.1';
    for (const place of beginnings) d.begun += `M${left(place) - 0.5} 12v18M${left(place) - 4} 31h7l-3.5 -5z`;
    for (const [name, path] of Object.entries(this.paths)) path.setAttribute('d', d[name]);
    this.svg.setAttribute('viewBox', `0 0 ${count * CELL + 4} 31`);
    this.svg.setAttribute('aria-label', results(monitor));
    this.svg.classList.toggle('empty', !letters);
  }
}

export class Row {
  constructor(process, check) {
    this.process = process;
    this.check = check;
    this.monitor = null;
    this.tr = element('tr');
    this.tr.row = this;
    this.state = element('span', 'badge', element('td', 'state', this.tr));
    const name = element('th', 'process', this.tr);
    name.scope = 'row';
    sayName(element('span', 'name', name), process.namespec);
    this.instance = element('span', 'instance', name);
    const checkCell = element('td', 'check', this.tr);
    this.why = element('td', 'why', this.tr);
    this.since = element('td', 'since', this.tr);
    const strip = element('td', 'results', this.tr);
    this.next = element('td', 'next', this.tr);
    this.restarts = element('span', 'restarts', this.next);
    this.coming = element('span', 'coming', this.next);
    this.actions = element('td', 'action', this.tr);
    this.strip = check ? new Strip(strip) : null;
    this.more = null;
    if (check) {
      this.more = button(checkCell, 'more');
      say(this.more, check);
      this.more.setAttribute('aria-expanded', 'false');
      this.more.setAttribute('aria-label', `${check} on ${process.namespec}: all that is known`);
    } else {
      say(checkCell, '\u2013');
    }
    this.detail = null;
    this.buttons = [];
  }

  // Buttons are there only while somebody may press them.
  allow(isAllowed) {
    if (isAllowed === this.buttons.length > 0) return;
    this.actions.replaceChildren();
    this.buttons = isAllowed ? Object.keys(ACTIONS).filter((name) => this.check || name === 'restart') : [];
    this.buttons = this.buttons.map((name) => button(this.actions, name));
    this.nameButtons();
  }

  nameButtons() {
    for (const each of this.buttons) {
      const name = each.classList.item(0);
      if (name === 'reset') each.hidden = !this.monitor || !(this.monitor.restarts || this.status === 'unhealthy');
      const action = name === 'pause' && this.status === 'paused' ? 'resume' : name;
      each.dataset.action = action;
      say(each, action === 'resume' ? 'Resume' : ACTIONS[name]);
      const what = ['reset', 'restart'].includes(action) ? '' : `${this.check} on `;
      const of = action === 'reset' ? 'restarts of ' : '';
      each.setAttribute('aria-label', `${each.textContent} ${of}${what}${this.process.namespec}`);
    }
  }

  get status() {
    return this.monitor ? this.monitor.state : 'unchecked';
  }

  show(monitor) {
    this.monitor = monitor;
    say(this.why, why(monitor, SHOWN_REASON));
    this.why.title = monitor.reason.length > 40 ? monitor.reason : '';
    this.since.title = moment(monitor.since);
    this.strip.show(monitor);
    say(this.restarts, restarts(monitor.restarts));
    this.tr.classList.toggle('suspended', monitor.suspended);
    this.showState();
    this.nameButtons();
  }

  showState() {
    this.state.className = `badge ${this.status}`;
    this.state.dataset.sign = SIGNS[this.status];
    say(this.state, this.status);
  }

  showProcess(state) {
    this.process.state = state;
    const pid = this.monitor && this.monitor.pid ? `pid ${this.monitor.pid}` : '';
    say(this.instance, state === 'RUNNING' ? pid : state);
    this.instance.classList.toggle('down', state !== 'RUNNING');
    if (!this.monitor) {
      say(this.why, this.process.isListener ? 'event listener, no check is for it' : 'no check is for it');
      this.showState();
    }
  }

  // What changes as time goes by.
  age(now) {
    if (!this.monitor) return;
    say(this.since, span(now - this.monitor.since));
    say(this.coming, next(this.monitor, now));
  }

  matches(words, states) {
    if (states.size && !states.has(this.status)) return false;
    const text = `${this.process.namespec} ${this.check} ${this.monitor ? this.monitor.reason : ''}`.toLowerCase();
    return words.every((word) => text.includes(word));
  }

  controls() {
    return [this.more, ...this.buttons].filter((control) => control && !control.hidden);
  }

  // Whether the Tab key comes by.
  reach(isReached) {
    for (const control of [this.more, ...this.buttons]) if (control) control.tabIndex = isReached ? 0 : -1;
  }
}

const byName = (a, b) => a.process.place - b.process.place || a.check.localeCompare(b.check);
const worst = (row) => STATES.indexOf(row.status) - (row.monitor && row.monitor.suspended ? 0.5 : 0);

export const ORDERS = {
  state: (a, b) => worst(a) - worst(b) || byName(a, b),
  process: byName,
  check: (a, b) => a.check.localeCompare(b.check) || byName(a, b),
  since: (a, b) => (b.monitor ? b.monitor.since : 0) - (a.monitor ? a.monitor.since : 0) || byName(a, b),
  restarts: (a, b) => (b.monitor ? b.monitor.restarts : -1) - (a.monitor ? a.monitor.restarts : -1) || byName(a, b),
};

// The rows under `body`, in order, without those that are not wanted. Yields the number of those shown.
export function arrange(body, rows, order, isReversed, isWanted) {
  const sorted = [...rows].sort(order);
  if (isReversed) sorted.reverse();
  let shown = 0;
  const wanted = [];
  for (const row of sorted) {
    const hidden = !isWanted(row);
    if (row.tr.hidden !== hidden) row.tr.hidden = hidden;
    if (row.detail) row.detail.tr.hidden = hidden;
    shown += !hidden;
    wanted.push(row.tr);
    if (row.detail) wanted.push(row.detail.tr);
  }
  const isSame = wanted.length === body.children.length && wanted.every((tr, place) => body.children[place] === tr);
  if (!isSame) {
    const focused = document.activeElement;
    body.replaceChildren(...wanted);
    if (focused && body.contains(focused)) focused.focus({ preventScroll: true });
  }
  return shown;
}

export function processesOf(listed) {
  return listed.map(([group, name, isListener], place) => ({
    namespec: group === name ? name : `${group}:${name}`, isListener, place, state: '',
  }));
}

export function monitorOf(values) {
  const [, state, since, reason, pid, failures, count, suspended, nextRestart, pausedUntil, nextCheck] = values;
  const [letters, durations, beginnings] = values.slice(11, 14);
  return {
    state, since, reason, pid, failures, restarts: count, suspended, nextRestart, pausedUntil, nextCheck, letters,
    durations, beginnings,
  };
}

export function stateOf(digit) {
  return PROCESS_STATES[digit];
}
