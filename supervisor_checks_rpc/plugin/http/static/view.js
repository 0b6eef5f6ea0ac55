// What of the rows is shown, in which order, and the way of the keyboard through them.

import { ORDERS, arrange } from './table.js';
import { SIGNS, STATES } from './words.js';

const $ = (id) => document.getElementById(id);

export class View {
  constructor() {
    this.rows = [];
    this.order = 'state';
    this.isReversed = false;
    this.wanted = new Set();
    this.current = null; // the one row on the way of the Tab key
    this.chips = Object.fromEntries(STATES.map((state) => [state, this.makeChip(state)]));
    $('states').append(...Object.values(this.chips));
    $('find').addEventListener('input', () => this.tidy());
    for (const header of document.querySelectorAll('[data-sort]')) {
      header.addEventListener('click', () => this.sortBy(header.dataset.sort));
    }
    $('rows').addEventListener('keydown', (event) => this.walk(event));
    document.addEventListener('keydown', (event) => {
      if (event.key !== '/' || event.target.matches('input, select')) return;
      event.preventDefault();
      $('find').focus();
    });
  }

  makeChip(state) {
    const chip = document.createElement('button');
    chip.type = 'button';
    chip.className = `chip ${state}`;
    chip.dataset.sign = SIGNS[state];
    chip.setAttribute('aria-pressed', 'false');
    chip.append(`${state} `, document.createElement('b'));
    chip.addEventListener('click', () => {
      if (!this.wanted.delete(state)) this.wanted.add(state);
      chip.setAttribute('aria-pressed', String(this.wanted.has(state)));
      this.tidy();
    });
    return chip;
  }

  // How many are in each state.
  count() {
    const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
    for (const row of this.rows) counts[row.status] += 1;
    for (const [state, chip] of Object.entries(this.chips)) {
      chip.lastChild.textContent = counts[state];
      chip.hidden = !counts[state] && !this.wanted.has(state);
    }
    return counts;
  }

  sortBy(order) {
    this.isReversed = order === this.order && !this.isReversed;
    this.order = order;
    this.tidy();
  }

  // While somebody points at a row, or is in it, rows stay where they are.
  isInHand() {
    return $('table').matches(':hover, :focus-within');
  }

  tidy() {
    const words = $('find').value.toLowerCase().split(/\s+/).filter(Boolean);
    const isWanted = (row) => row.matches(words, this.wanted);
    const shown = arrange($('rows'), this.rows, ORDERS[this.order], this.isReversed, isWanted);
    $('nothing').hidden = shown > 0;
    $('nothing').textContent = this.rows.length ? 'Nothing here is like that.' : 'There are no processes.';
    for (const header of document.querySelectorAll('[data-sort]')) {
      const direction = this.isReversed ? 'descending' : 'ascending';
      if (header.dataset.sort === this.order) header.parentElement.setAttribute('aria-sort', direction);
      else header.parentElement.removeAttribute('aria-sort');
    }
    const isThere = this.current && this.current.tr.isConnected && !this.current.tr.hidden;
    this.goTo(isThere ? this.current : $('rows').querySelector('tr:not([hidden])')?.row);
  }

  goTo(row) {
    if (this.current) this.current.reach(false);
    this.current = row || null;
    if (this.current) this.current.reach(true);
  }

  // Up and down to the same button of the next row.
  walk(event) {
    const row = event.target.closest('tr')?.row;
    if (event.key === 'Escape') $('find').focus();
    if (!row || !['ArrowUp', 'ArrowDown'].includes(event.key)) return;
    event.preventDefault();
    const step = event.key === 'ArrowUp' ? 'previousElementSibling' : 'nextElementSibling';
    let tr = row.tr[step];
    while (tr && (tr.hidden || !tr.row)) tr = tr[step];
    if (!tr) return;
    this.goTo(tr.row);
    const controls = tr.row.controls();
    (controls[row.controls().indexOf(event.target)] || controls.at(-1))?.focus();
  }
}
