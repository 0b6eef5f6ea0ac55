// The lines of the table: one for each check on a process, and one for a process with several checks. What is folded is not
// made: of a thousand lines, few are looked at.

import { PROCESS_STATES, SIGNS, STATES, moment, next, plural, restarts, results, span, tally, why } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';
const CELL = 6;
const KEPT = 20;
const SHOWN_REASON = 160;
const ACTIONS = { run: 'Run', pause: 'Pause', restart: 'Restart', reset: 'Reset' };

// CSS lays the rows out as a grid, and some browsers then take them for no table: these roles say that they are one.
const ROLES = { tr: 'row', td: 'cell', th: 'rowheader' };

export function element(tag, className, parent) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (ROLES[tag]) made.setAttribute('role', ROLES[tag]);
  if (tag === 'th') made.scope = 'row';
  if (parent) parent.append(made);
  return made;
}

// All text of services goes through here: it is text, never markup.
export function say(node, text) {
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

export function button(parent, action, className = action) {
  const made = element('button', className, parent);
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

// What all lines have: a state, buttons, and maybe a detail below. `rows` are the checks that it stands for.
export class Line {
  constructor(rows) {
    this.rows = rows;
    this.detail = null;
    this.isAllowed = false;
    this.opener = null; // the button that opens the detail, or unfolds
    this.buttons = [];
    this.actionNames = [];
    this.made = null;
  }

  get tr() {
    if (!this.made) {
      this.made = element('tr');
      this.made.row = this;
      this.state = element('span', 'badge', element('td', 'state', this.made));
      this.make(this.made);
      this.actions = element('td', 'action', this.made);
      this.refresh();
    }
    return this.made;
  }

  get status() {
    return STATES.find((state) => this.rows.some((row) => row.status === state));
  }

  // Brings it up to date, if it was made. What changes as time goes by is in age().
  refresh() {
    if (!this.made) return;
    this.state.className = `badge ${this.status}`;
    this.state.dataset.sign = SIGNS[this.status];
    say(this.state, this.status);
    this.fill();
    this.offer();
  }

  // Buttons are there only while somebody may press them.
  offer() {
    const names = this.isAllowed ? this.actionNames : [];
    if (names.length !== this.buttons.length) {
      this.actions.replaceChildren();
      this.buttons = names.map((name) => button(this.actions, name));
    }
    for (const each of this.buttons) this.nameButton(each, each.classList.item(0));
  }

  age() {}

  controls() {
    return [this.opener, ...this.buttons].filter((control) => control && !control.hidden);
  }

  // Whether the Tab key comes by.
  reach(isReached) {
    for (const control of [this.opener, this.about, ...this.buttons]) if (control) control.tabIndex = isReached ? 0 : -1;
  }

  // For Restart and Reset, of a process that this line alone stands for.
  nameOfProcess(each, name, of) {
    if (name === 'reset') each.hidden = !of.some((row) => row.monitor && (row.monitor.restarts || row.status === 'unhealthy'));
    say(each, ACTIONS[name]);
    each.setAttribute('aria-label', `${ACTIONS[name]} ${name === 'reset' ? 'restarts of ' : ''}${this.process.namespec}`);
  }

  fillInstance(state, pid) {
    say(this.instance, state === 'RUNNING' ? pid && `pid ${pid}` : state);
    this.instance.classList.toggle('down', state !== 'RUNNING');
  }
}

// A check on a process, or a process that nothing checks. With `isAlone` it has the name and the buttons of its process.
export class Row extends Line {
  constructor(process, check, fixed) {
    super([]);
    this.rows = [this];
    this.process = process;
    this.check = check;
    this.fixed = fixed;
    this.monitor = null;
    this.isAlone = true;
  }

  make(tr) {
    const { namespec } = this.process;
    const name = element(this.isAlone ? 'th' : 'td', 'process', tr);
    if (this.isAlone) {
      sayName(element('span', 'name', name), namespec);
      this.instance = element('span', 'instance', name);
    }
    const check = element(this.isAlone ? 'td' : 'th', 'check', tr);
    this.why = element('td', 'why', tr);
    this.since = element('td', 'since', tr);
    const strip = element('td', 'results', tr);
    this.next = element('td', 'next', tr);
    this.restarts = element('span', 'restarts', this.next);
    this.coming = element('span', 'coming', this.next);
    this.strip = this.check ? new Strip(strip) : null;
    this.opener = button(check, 'more');
    say(this.opener, this.check || '\u2013');
    this.opener.setAttribute('aria-expanded', String(Boolean(this.detail)));
    this.opener.setAttribute('aria-label', `${this.check ? `${this.check} on ` : ''}${namespec}: all that is known`);
    tr.classList.toggle('below', !this.isAlone);
    const ofCheck = this.check ? ['run', 'pause'] : [];
    this.actionNames = this.isAlone ? [...ofCheck, 'restart', ...(this.check ? ['reset'] : [])] : ofCheck;
  }

  get status() {
    return this.monitor ? this.monitor.state : 'unchecked';
  }

  show(monitor) {
    this.monitor = monitor;
    this.refresh();
    if (this.made) this.strip.show(monitor);
  }

  fill() {
    const { monitor } = this;
    if (this.isAlone) this.fillInstance(this.process.state, monitor && monitor.pid);
    if (!monitor) {
      say(this.why, this.process.isListener ? 'event listener, no check is for it' : 'no check is for it');
      return;
    }
    say(this.why, why(monitor, SHOWN_REASON));
    this.why.title = monitor.reason.length > 40 ? monitor.reason : '';
    this.since.title = moment(monitor.since);
    if (!this.strip.svg.hasAttribute('viewBox')) this.strip.show(monitor);
    say(this.restarts, this.isAlone ? restarts(monitor.restarts) : '');
    this.tr.classList.toggle('suspended', monitor.suspended);
  }

  nameButton(each, name) {
    if (name === 'restart' || name === 'reset') {
      this.nameOfProcess(each, name, this.rows);
      return;
    }
    const action = name === 'pause' && this.status === 'paused' ? 'resume' : name;
    each.dataset.action = action;
    say(each, action === 'resume' ? 'Resume' : ACTIONS[name]);
    each.setAttribute('aria-label', `${each.textContent} ${this.check} on ${this.process.namespec}`);
  }

  age(now) {
    if (!this.made || !this.monitor) return;
    say(this.since, span(now - this.monitor.since));
    say(this.coming, next(this.monitor, now));
  }

  matches(words, states) {
    if (states.size && !states.has(this.status)) return false;
    const text = `${this.process.namespec} ${this.check} ${this.monitor ? this.monitor.reason : ''}`.toLowerCase();
    return words.every((word) => text.includes(word));
  }
}

// A process with several checks, which are below it.
export class ProcessLine extends Line {
  constructor(rows) {
    super(rows);
    this.process = rows[0].process;
    this.actionNames = ['restart', 'reset'];
  }

  make(tr) {
    const { namespec } = this.process;
    const name = element('th', 'process', tr);
    this.opener = button(name, 'fold');
    sayName(element('span', 'name', this.opener), namespec);
    this.instance = element('span', 'instance', name);
    this.about = button(element('td', 'check', tr), 'more', 'about');
    say(this.about, plural(this.rows.length, 'check'));
    this.about.setAttribute('aria-expanded', String(Boolean(this.detail)));
    this.about.setAttribute('aria-label', `${namespec}: all that is known of the process`);
    this.why = element('td', 'why', tr);
    element('td', 'since', tr);
    element('td', 'results', tr);
    this.next = element('td', 'next', tr);
    this.restarts = element('span', 'restarts', this.next);
    tr.classList.add('several');
  }

  fill() {
    const monitors = this.rows.map((row) => row.monitor);
    this.fillInstance(this.process.state, monitors[0].pid);
    say(this.why, tally(this.rows));
    say(this.restarts, restarts(Math.max(...monitors.map((monitor) => monitor.restarts))));
  }

  nameButton(each, name) {
    this.nameOfProcess(each, name, this.rows);
  }

  controls() {
    return [this.opener, this.about, ...this.buttons].filter((control) => control && !control.hidden);
  }
}

const byName = (a, b) => a.process.place - b.process.place || a.check.localeCompare(b.check);
const worst = (row) => STATES.indexOf(row.status) - (row.monitor && row.monitor.suspended ? 0.5 : 0);
const least = (rows, value) => rows.reduce((found, row) => Math.min(found, value(row)), Infinity);
const place = (row) => row.process.place;
const firstCheck = (rows) => rows.reduce((found, row) => (found < row.check ? found : row.check), rows[0].check);

// Compare two lists of rows: those of two checks, two processes or two groups.
const byPlace = (a, b) => least(a, place) - least(b, place) || byName(a[0], b[0]);
const by = (value) => (a, b) => least(a, value) - least(b, value) || byPlace(a, b);
export const ORDERS = {
  state: by(worst),
  process: byPlace,
  check: (a, b) => firstCheck(a).localeCompare(firstCheck(b)) || byPlace(a, b),
  since: by((row) => -(row.monitor ? row.monitor.since : 0)),
  restarts: by((row) => -(row.monitor ? row.monitor.restarts : -1)),
};

export function processesOf(listed) {
  return listed.map(([group, name, isListener], index) => ({
    group, namespec: group === name ? name : `${group}:${name}`, isListener, place: index, state: '',
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
