// All that is known of one line, below it: of a check its results and options, of a process its restarts, what it
// depends on, and what happened to it.

import { tableOf } from './happened.js';
import { element, say } from './table.js';
import { SIGNS, clock, moment, plural, span, took } from './words.js';

const COLUMNS = ['When', 'Outcome', 'Took', 'Pid', 'Reason'];

function part(title, ...nodes) {
  const section = document.createElement('section');
  say(element('h2', '', section), title);
  section.append(...nodes);
  return section;
}

function text(tag, className, words) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = words;
  return made;
}

// `sources` has `ask`, which fetches; `happened`; and `statusOf`, which tells the state of a process by its name.
export class Detail {
  constructor(line, sources) {
    this.line = line;
    this.sources = sources;
    this.tr = element('tr', 'detail');
    this.cell = element('td', '', this.tr);
    this.ofCheck = element('div', '', this.cell);
    this.ofProcess = element('div', '', this.cell);
    this.options = element('div', '', this.cell);
    this.shown = {};
    line.detail = this;
    this.expand(true);
    this.refresh();
  }

  expand(isExpanded) {
    (this.line.about || this.line.opener)?.setAttribute('aria-expanded', String(isExpanded));
  }

  close() {
    this.tr.remove();
    this.line.detail = null;
    this.expand(false);
  }

  refresh() {
    const { check, process, isAlone } = this.line;
    const query = new URLSearchParams({ process: process.namespec });
    if (isAlone || !check) {
      this.fill(this.ofProcess, `ui/process?${query}`, (known) => this.processParts(known));
    }
    if (check) {
      query.set('check', check);
      this.fill(this.ofCheck, `ui/monitor?${query}`, (status) => this.checkParts(status));
    }
  }

  // Only what is new is shown: somebody may have marked a word.
  async fill(place, path, parts) {
    try {
      const known = await this.sources.ask(path);
      const key = JSON.stringify([{ ...known, now: 0 }, this.sources.happened.last]);
      if (this.shown[path] === key) return;
      place.replaceChildren(...parts(known));
      this.shown[path] = key;
    } catch (why) {
      this.shown[path] = '';
      place.textContent = why.message;
    }
  }

  checkParts(status) {
    const parts = [text('p', 'reason', status.reason)];
    const newest = [...status.history].reverse();
    if (newest.length) {
      const rows = newest.map(({ at, outcome, duration, pid, reason }) => [clock(at), outcome, took(duration), pid, reason]);
      const outcomes = newest.map((result) => result.outcome);
      parts.push(tableOf(COLUMNS, rows, outcomes, newest.map((result) => moment(result.at)), 'Last results'));
    }
    this.options.replaceChildren(...this.optionsPart(status));
    return parts;
  }

  optionsPart(status) {
    const options = Object.entries(status.options).filter(([, value]) => value !== '');
    if (!options.length) return [];
    const list = document.createElement('dl');
    for (const [name, value] of options) {
      const pair = element('div', '', list);
      pair.append(text('dt', '', name), text('dd', '', value));
    }
    return [part(`Options of ${status.check}`, list)];
  }

  processParts(known) {
    const parts = [];
    if (known.needs.length) parts.push(part('Depends on', this.graph(known.needs)));
    if (this.line.check || this.line.rows.length > 1) parts.push(part('Restarts', text('p', '', restartsOf(known))));
    const events = this.sources.happened.of(this.line.process);
    const nothing = text('p', '', 'Nothing since supervisord started.');
    const table = this.sources.happened.table(events, `What happened to ${this.line.process.namespec}`);
    parts.push(part('What happened', events.length ? table : nothing));
    return parts;
  }

  // What a process depends on, and below each what that depends on.
  graph(nodes) {
    const list = document.createElement('ul');
    list.className = 'graph';
    for (const node of nodes) {
      const item = element('li', node.holds ? 'holds' : 'missing', list);
      item.append(`${node.holds ? SIGNS.healthy : SIGNS.waiting} ${node.text} `);
      for (const name of node.processes) {
        const status = this.sources.statusOf(name);
        const badge = text('span', `badge ${status}`, status);
        badge.dataset.sign = SIGNS[status];
        const one = text('span', 'node', '');
        one.append(name, ' ', badge);
        item.append(one, ' ');
      }
      if (node.more) item.append(` and ${node.more} more`);
      if (node.needs.length) item.append(this.graph(node.needs));
    }
    return list;
  }
}

function restartsOf(known) {
  const words = [`${plural(known.restarts, 'restart')} by health checks, ${known.in_window} of them within the restart window`];
  words.push(plural(known.exits, 'unexpected exit'));
  if (known.suspended) words.push('restarts are suspended');
  else if (known.next_restart_at > known.now) words.push(`the next in ${span(known.next_restart_at - known.now)}`);
  return `${words.join('; ')}.`;
}
