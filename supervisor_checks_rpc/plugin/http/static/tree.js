// Groups, their processes, and the checks of each: what is folded, and which lines that leaves.

import { Line, ProcessLine, button, element, say } from './table.js';
import { plural, tally } from './words.js';

// So few rows are all shown, unless somebody folds them.
const FEW = 40;
// So many sick ones are shown below a folded line.
const MOST_SICK = 20;
const SICK = new Set(['unhealthy', 'invalid', 'unknown']);
const STORE = 'supervisor-health-folds';

// What somebody folded (false) or unfolded (true), by the key of a line; kept by the browser, where it keeps anything.
class Folds {
  constructor() {
    this.isOpenByDefault = true;
    try {
      this.chosen = new Map(Object.entries(JSON.parse(localStorage.getItem(STORE) || '{}')));
    } catch {
      this.chosen = new Map();
    }
  }

  isOpen(key) {
    return this.chosen.get(key) ?? this.isOpenByDefault;
  }

  // Which of these things below a line are shown. Folded, a line that nobody touched shows the first of the sick.
  shown(key, things) {
    if (this.isOpen(key)) return things;
    const sick = this.chosen.has(key) ? [] : things.filter(({ rows }) => rows.some((row) => SICK.has(row.status)));
    return sick.slice(0, MOST_SICK);
  }

  choose(key, isOpen) {
    this.chosen.set(key, isOpen);
    this.keep();
  }

  forget(isOpen) {
    this.chosen.clear();
    this.isOpenByDefault = isOpen;
    this.keep();
  }

  keep() {
    try {
      localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(this.chosen)));
    } catch {
      // The browser keeps nothing: what is folded is forgotten when the page is loaded anew.
    }
  }
}

// A group, or with the name '' all processes that are no group's.
export class GroupLine extends Line {
  constructor(name, rows, processes) {
    super(rows);
    this.group = name;
    this.title = name || 'Processes without a group';
    this.count = processes;
    this.progress = null; // of a restart one after another
    this.actionNames = name && !rows[0].process.isListener ? ['rolling'] : [];
  }

  make(tr) {
    const name = element('th', 'process', tr);
    this.opener = button(name, 'fold');
    say(element('span', 'name', this.opener), this.title);
    this.opener.append(` ${plural(this.count, 'process')}`);
    this.why = element('td', 'why', tr);
    this.tally = element('span', '', this.why);
    this.coming = element('span', 'progress', this.why);
    this.coming.setAttribute('role', 'status');
    tr.classList.add('head');
  }

  fill() {
    say(this.tally, tally(this.rows));
    say(this.coming, this.progress ? this.progress.text : '');
  }

  nameButton(each) {
    const isUnderWay = Boolean(this.progress && this.progress.isUnderWay);
    each.dataset.action = isUnderWay ? 'halt' : 'rolling';
    say(each, isUnderWay ? 'Stop after this one' : 'Restart one after another');
    each.setAttribute('aria-label', `${each.textContent}: ${this.title}`);
  }
}

export class Tree {
  constructor() {
    this.folds = new Folds();
    this.rows = [];
    this.units = []; // groups with their line, and processes that stand by themselves
    this.heads = []; // the lines of groups and processes
    this.progress = new Map(); // of restarts one after another, by group
  }

  build(rows) {
    this.rows = rows;
    this.folds.isOpenByDefault = rows.length <= FEW;
    const groups = new Map();
    for (const process of processesWith(rows)) {
      const name = process.rows[0].process.group;
      groups.set(name, [...(groups.get(name) || []), process]);
    }
    const single = [...groups].filter(([, processes]) => processes.length === 1).map(([, [process]]) => process);
    const several = [...groups].filter(([, processes]) => processes.length > 1);
    const withLine = rows.length > FEW && single.length > 1 ? [...several, ['', single]] : several;
    this.units = withLine.map(([name, processes]) => unit(name, processes));
    if (withLine === several) this.units.push(...single);
    this.heads = this.units.flatMap((one) => [one, ...(one.processes || [])]).map((one) => one.line).filter(Boolean);
    for (const line of this.heads) line.progress = this.progress.get(line.group) || null;
  }

  lines() {
    return [...this.heads, ...this.rows];
  }

  note(group, progress) {
    this.progress.set(group, progress);
    for (const line of this.heads) {
      if (line.group !== group) continue;
      line.progress = progress;
      line.refresh();
    }
  }

  key(line) {
    return line.process ? `process ${line.process.namespec}` : `group ${line.group}`;
  }

  // Folds or unfolds what is below a line.
  toggle(line) {
    this.folds.choose(this.key(line), !this.folds.isOpen(this.key(line)));
  }

  isAnyFolded() {
    return this.heads.some((line) => !this.folds.isOpen(this.key(line)));
  }

  toggleAll() {
    this.folds.forget(this.isAnyFolded());
  }

  // The lines to be shown, in order. While somebody looks for something, nothing is folded.
  shown(isWanted, isLooking, order) {
    const found = [];
    const sorted = (things) => [...things].sort((a, b) => order(a.rows, b.rows));
    const below = (line, things) => (!line || isLooking ? things : this.folds.shown(this.key(line), things));
    const addProcess = (process) => {
      const rows = process.rows.filter(isWanted);
      if (!rows.length) return;
      if (process.line) found.push(process.line);
      found.push(...below(process.line, sorted(rows)));
    };
    for (const one of sorted(this.units)) {
      if (!one.processes) {
        addProcess(one);
        continue;
      }
      if (!one.rows.some(isWanted)) continue;
      found.push(one.line);
      below(one.line, sorted(one.processes)).forEach(addProcess);
    }
    return found;
  }

  tellFolds(isLooking) {
    for (const line of this.heads) {
      if (line.made) line.opener.setAttribute('aria-expanded', String(isLooking || this.folds.isOpen(this.key(line))));
    }
  }
}

function unit(name, processes) {
  const rows = processes.flatMap((process) => process.rows);
  return { line: new GroupLine(name, rows, processes.length), processes, rows };
}

function processesWith(rows) {
  const byPlace = new Map();
  for (const row of rows) byPlace.set(row.process.place, [...(byPlace.get(row.process.place) || []), row]);
  return [...byPlace.values()].map((ofOne) => {
    for (const row of ofOne) row.isAlone = ofOne.length === 1;
    return { line: ofOne.length > 1 ? new ProcessLine(ofOne) : null, rows: ofOne };
  });
}
