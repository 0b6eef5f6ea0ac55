// What of the lines is shown, in which order, and the way of the keyboard through them.

import { ORDERS } from './table.js';
import { Tree } from './tree.js';
import { SIGNS, STATES } from './words.js';

const $ = (id) => document.getElementById(id);

export class View {
  // `now` tells the time of supervisord, in seconds since the epoch.
  constructor(now) {
    this.now = now;
    this.tree = new Tree();
    this.order = 'state';
    this.isReversed = false;
    this.wanted = new Set();
    this.current = null; // the one line on the way of the Tab key
    this.chips = Object.fromEntries(STATES.map((state) => [state, this.makeChip(state)]));
    $('states').append(...Object.values(this.chips));
    $('find').addEventListener('input', () => this.tidy());
    $('folding').addEventListener('click', () => {
      this.tree.toggleAll();
      this.tidy();
    });
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

  get rows() {
    return this.tree.rows;
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

  fold(line) {
    this.tree.toggle(line);
    this.tidy();
  }

  // While somebody points at a line, or is in it, lines stay where they are.
  isInHand() {
    return $('table').matches(':hover, :focus-within');
  }

  tidy() {
    const words = $('find').value.toLowerCase().split(/\s+/).filter(Boolean);
    const order = ORDERS[this.order];
    const inOrder = this.isReversed ? (a, b) => order(b, a) : order;
    const isLooking = words.length > 0 || this.wanted.size > 0;
    const shown = this.tree.shown((row) => row.matches(words, this.wanted), isLooking, inOrder);
    this.place(shown);
    this.tree.tellFolds(isLooking);
    this.age();
    $('nothing').hidden = shown.length > 0;
    $('nothing').textContent = this.rows.length ? 'Nothing here is like that.' : 'There are no processes.';
    $('folding').hidden = !this.tree.heads.length;
    $('folding').textContent = this.tree.isAnyFolded() ? 'Unfold all' : 'Fold all';
    for (const header of document.querySelectorAll('[data-sort]')) {
      const direction = this.isReversed ? 'descending' : 'ascending';
      if (header.dataset.sort === this.order) header.parentElement.setAttribute('aria-sort', direction);
      else header.parentElement.removeAttribute('aria-sort');
    }
    this.goTo(shown.includes(this.current) ? this.current : shown[0]);
  }

  age() {
    for (const row of this.rows) row.age(this.now());
  }

  place(lines) {
    const wanted = lines.flatMap((line) => (line.detail ? [line.tr, line.detail.tr] : [line.tr]));
    const body = $('rows');
    const isSame = wanted.length === body.children.length && wanted.every((tr, index) => body.children[index] === tr);
    if (isSame) return;
    const focused = document.activeElement;
    body.replaceChildren(...wanted);
    if (focused && body.contains(focused)) focused.focus({ preventScroll: true });
  }

  goTo(line) {
    if (this.current) this.current.reach(false);
    this.current = line || null;
    if (this.current) this.current.reach(true);
  }

  // Up and down to the same button of the next line.
  walk(event) {
    const line = event.target.closest('#rows > tr')?.row;
    if (event.key === 'Escape') $('find').focus();
    if (!line || !['ArrowUp', 'ArrowDown'].includes(event.key)) return;
    event.preventDefault();
    const step = event.key === 'ArrowUp' ? 'previousElementSibling' : 'nextElementSibling';
    let tr = line.tr[step];
    while (tr && !tr.row) tr = tr[step];
    if (!tr) return;
    this.goTo(tr.row);
    const controls = tr.row.controls();
    (controls[line.controls().indexOf(event.target)] || controls.at(-1))?.focus();
  }
}
