// All that is known of one check on one process, below its row: the whole reason, and each result with its own.

import { clock, moment, took } from './words.js';

const COLUMNS = ['When', 'Outcome', 'Took', 'Pid', 'Reason'];

function cells(tag, texts) {
  const tr = document.createElement('tr');
  for (const text of texts) {
    const cell = document.createElement(tag);
    cell.textContent = text;
    tr.append(cell);
  }
  return tr;
}

export class Detail {
  constructor(row, ask) {
    this.row = row;
    this.ask = ask;
    this.tr = document.createElement('tr');
    this.tr.className = 'detail';
    this.tr.setAttribute('role', 'row');
    this.cell = document.createElement('td');
    this.cell.setAttribute('role', 'cell');
    this.cell.colSpan = row.tr.children.length;
    this.tr.append(this.cell);
    row.detail = this;
    row.more.setAttribute('aria-expanded', 'true');
    this.refresh();
  }

  open() {
    this.row.tr.after(this.tr);
  }

  close() {
    this.tr.remove();
    this.row.detail = null;
    this.row.more.setAttribute('aria-expanded', 'false');
  }

  async refresh() {
    const query = new URLSearchParams({ check: this.row.check, process: this.row.process.namespec });
    try {
      this.show(await this.ask(`ui/monitor?${query}`));
    } catch (why) {
      this.cell.textContent = why.message;
    }
  }

  show(status) {
    const reason = document.createElement('p');
    reason.className = 'reason';
    reason.textContent = status.reason;
    const table = document.createElement('table');
    const head = table.createTHead();
    head.append(cells('th', COLUMNS));
    for (const th of head.rows[0].cells) th.scope = 'col';
    const body = table.createTBody();
    for (const result of [...status.history].reverse()) {
      const tr = cells('td', [clock(result.at), result.outcome, took(result.duration), result.pid, result.reason]);
      tr.className = result.outcome;
      tr.cells[0].title = moment(result.at);
      body.append(tr);
    }
    this.cell.replaceChildren(reason, ...(status.history.length ? [table] : []));
  }
}
