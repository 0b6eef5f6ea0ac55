// What happened: the last changes of health and acts, with their reasons, newest first.

import { clock, moment } from './words.js';

const MOST = 200;
const COLUMNS = ['When', 'Process', 'Check', 'What', 'Reason'];

function cells(tag, texts) {
  const tr = document.createElement('tr');
  for (const text of texts) {
    const cell = document.createElement(tag);
    cell.textContent = text;
    if (tag === 'th') cell.scope = 'col';
    tr.append(cell);
  }
  return tr;
}

// A table of these rows of texts; `classes` has a class for each row, and `titles` what its first cell says in full.
export function tableOf(columns, rows, classes, titles, caption) {
  const table = document.createElement('table');
  table.className = 'small';
  const title = table.createCaption();
  title.textContent = caption;
  table.createTHead().append(cells('th', columns));
  const body = table.createTBody();
  rows.forEach((texts, index) => {
    const tr = cells('td', texts);
    tr.className = classes[index];
    tr.cells[0].title = titles[index];
    body.append(tr);
  });
  return table;
}

function nameOf(event) {
  if (!event.group) return 'all';
  if (!event.name) return `${event.group}:*`;
  return event.group === event.name ? event.name : `${event.group}:${event.name}`;
}

export class Happened {
  constructor(section) {
    this.events = [];
    this.section = section;
    section.addEventListener('toggle', () => this.show());
  }

  get last() {
    return this.events.length ? this.events.at(-1).number : 0;
  }

  // More events; without `adds` they are all that there are.
  take(events, adds) {
    if (adds && !events.length) return;
    this.events = [...(adds ? this.events : []), ...events].slice(-MOST);
    this.section.querySelector('#count').textContent = this.events.length;
    this.show();
  }

  show() {
    if (!this.section.open) return;
    this.section.querySelector('#events').replaceChildren(this.table(this.events, 'What happened to all'));
  }

  of(process) {
    const [group, name] = process.namespec.includes(':') ? process.namespec.split(':') : [process.namespec, process.namespec];
    return this.events.filter((event) => ['', group].includes(event.group) && ['', name].includes(event.name));
  }

  table(events, caption) {
    const newest = [...events].reverse();
    const rows = newest.map((event) => [clock(event.at), nameOf(event), event.check, event.what, event.reason]);
    return tableOf(COLUMNS, rows, newest.map((event) => event.what), newest.map((event) => moment(event.at)), caption);
  }
}
