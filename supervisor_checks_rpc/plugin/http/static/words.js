// What the page says: pure functions from values to words.

export const STATES = ['unhealthy', 'invalid', 'unknown', 'waiting', 'stopping', 'starting', 'paused', 'healthy', 'inactive', 'unchecked'];

// Colour is never the only sign.
export const SIGNS = {
  unhealthy: '\u2717', invalid: '!', unknown: '?', waiting: '\u25d4', stopping: '\u21bb', starting: '\u2026', paused: '\u2016',
  healthy: '\u2713', inactive: '\u25cb', unchecked: '\u2013',
};

// The order is that of _STATES in status_data.py.
export const PROCESS_STATES = [
  'STOPPED', 'STARTING', 'RUNNING', 'BACKOFF', 'STOPPING', 'EXITED', 'FATAL', 'UNKNOWN',
];

// A check that is due runs, and its result travels, before the page hears of it.
const ON_ITS_WAY = 15;

const OUTCOMES = { p: 'passed', f: 'failed', e: 'could not run' };

export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

export function took(seconds) {
  return seconds < 1 ? `${Math.round(seconds * 10000) / 10} ms` : `${Math.round(seconds * 100) / 100} s`;
}

export function moment(epoch) {
  return new Date(epoch * 1000).toLocaleString();
}

export function clock(epoch) {
  return new Date(epoch * 1000).toLocaleTimeString();
}

// Where a reason begins to say what is done, or why nothing is: remediation.py puts it at the end.
const DONE = /; (?:not re|restarts |signals |waits for |cannot start it|step )/;

function cut(text, most) {
  const found = DONE.exec(text);
  const end = found ? found.index : text.length;
  return end > most ? `${text.slice(0, most)}\u2026${text.slice(end)}` : text;
}

// Why a monitor is in its state, the reason cut to so many characters; a failure that does not count as unhealthy yet says
// how far it is.
export function why(monitor, most) {
  const { state, reason, failures, threshold } = monitor;
  const near = failures && ['healthy', 'starting', 'unknown'].includes(state) && failures < threshold;
  const text = cut(reason, most);
  return near ? `${text} (failed ${failures} in a row, unhealthy at ${threshold})` : text;
}

// What happens next to a monitor, by itself.
export function next(monitor, now) {
  if (monitor.suspended) return 'suspended until it recovers, or Reset';
  if (monitor.state === 'paused') {
    return monitor.pausedUntil ? `checked again in ${span(monitor.pausedUntil - now)}` : 'paused until resumed';
  }
  if (monitor.nextRestart) {
    const one = monitor.onFailure.startsWith('signal ') ? monitor.onFailure.slice(7) : monitor.onFailure;
    const verb = one.includes(',') ? 'next step' : one === 'none' ? 'restart' : one;
    return monitor.nextRestart > now + 0.5 ? `${verb} in ${span(monitor.nextRestart - now)}` : `${verb} is due`;
  }
  if (!monitor.nextCheck) return '';
  const late = now - monitor.nextCheck;
  const due = late < -0.5 ? `check in ${span(-late)}` : 'check now';
  const check = late > ON_ITS_WAY ? `check ${span(late)} overdue` : due;
  return monitor.state === 'unhealthy' && monitor.onFailure === 'none' ? `no restart (on_failure = none), ${check}` : check;
}

// How many of the rows are in each state, the worst first.
export function tally(rows) {
  const counts = new Map();
  for (const row of rows) counts.set(row.status, (counts.get(row.status) || 0) + 1);
  return STATES.filter((state) => counts.has(state)).map((state) => `${counts.get(state)} ${state}`).join(', ');
}

export function plural(count, word) {
  return `${count} ${word}${count === 1 ? '' : word.endsWith('s') ? 'es' : 's'}`;
}

export function restarts(count) {
  return count ? plural(count, 'restart') : '';
}

// The strip of results for those who do not see it.
export function results(monitor) {
  const { letters, durations, beginnings } = monitor;
  if (!letters) return 'no result yet';
  const counts = Object.entries(OUTCOMES)
    .map(([letter, outcome]) => [letters.split(letter).length - 1, outcome])
    .filter(([count]) => count)
    .map(([count, outcome]) => `${count} ${outcome}`);
  const sorted = [...durations].sort((a, b) => a - b);
  const middle = took(sorted[Math.floor(sorted.length / 2)] / 10000);
  const begun = beginnings.length ? `; ${plural(beginnings.length, 'new instance')}` : '';
  return `last ${letters.length}: ${counts.join(', ')}; newest ${OUTCOMES[letters.at(-1)]}; median ${middle}${begun}`;
}
