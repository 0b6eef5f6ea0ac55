// What the buttons do: those that restart ask once, in the place of the button, and all say what came of it.

import { took } from './words.js';

const ASKS = { restart: 'Restart', rolling: 'Restart one after another:' };
// As `supervisorctl health restart` waits for each, in milliseconds.
const TIMEOUT = 60000;
// A browser has six connections to a server. More that wait would leave none to ask what has changed.
const MOST_WAITING = 3;

// Asks in the place of the buttons of a line; yields whether the answer is yes. "No" has the focus, so that a key held
// down restarts nothing.
export function askInPlace(line, pressed, question) {
  line.actions.querySelector('.question')?.remove();
  const place = document.createElement('span');
  place.className = 'question';
  place.setAttribute('role', 'group');
  place.setAttribute('aria-label', question);
  const words = document.createElement('span');
  words.textContent = question;
  place.append(words);
  return new Promise((resolve) => {
    const end = (isYes) => {
      place.remove();
      line.actions.classList.remove('asking');
      pressed.focus();
      resolve(isYes);
    };
    for (const [name, isYes] of [['No', false], ['Yes', true]]) {
      const answer = document.createElement('button');
      answer.type = 'button';
      answer.textContent = name;
      answer.className = isYes ? 'yes' : 'no';
      answer.setAttribute('aria-label', `${name}: ${question}`);
      answer.addEventListener('click', () => end(isYes));
      place.append(answer);
    }
    place.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      event.stopPropagation();
      end(false);
    });
    line.actions.append(place);
    line.actions.classList.add('asking');
    place.querySelector('.no').focus();
  });
}

// `ask` fetches, `act` sends an action, `tell(text, kind)` says what came of it, `note(group, progress)` shows where a
// restart one after another is.
export class Buttons {
  constructor({ ask, act, tell, note }) {
    this.ask = ask;
    this.act = act;
    this.tell = tell;
    this.note = note;
    this.halted = new Set(); // groups whose restart one after another is to end
    this.waiting = 0; // how many restarts are under way whose end we wait for
  }

  async press(line, action, pressed) {
    if (action === 'halt') {
      this.halted.add(line.group);
      return;
    }
    const name = line.process ? line.process.namespec : line.title;
    if (ASKS[action] && !(await askInPlace(line, pressed, `${ASKS[action]} ${name}?`))) return;
    const waits = ['restart', 'rolling'].includes(action) && this.waiting < MOST_WAITING;
    this.waiting += waits;
    if (action !== 'rolling') await this.carryOut(line, action, waits);
    else if (waits) await this.restartOneAfterAnother(line.group);
    else this.tell(`${name}: ${MOST_WAITING} restarts are under way, wait for one of them`, 'failed');
    this.waiting -= waits;
  }

  async carryOut(line, action, waits) {
    const request = { action, process: line.process.namespec };
    if (waits) request.wait = true;
    if (['run', 'pause', 'resume'].includes(action)) request.check = line.check;
    if (action === 'pause') request.seconds = Number(document.getElementById('seconds').value);
    const what = `${request.process}${request.check ? `, ${request.check}` : ''}`;
    this.tell(`${what}: ${action} \u2026`, 'busy');
    try {
      const result = await this.act(request);
      if (action === 'run') {
        this.tell(`${what}: ${result.outcome} on demand in ${took(result.duration)}: ${result.reason}`, result.outcome);
      } else {
        this.tell(`${what}: ${action}, ${action === 'restart' && !waits ? 'begun' : 'done'}`, 'done');
      }
    } catch (why) {
      this.tell(`${what}: cannot ${action}: ${why.message}`, 'failed');
    }
  }

  // Each step is one restart inside supervisord, so a page that is closed leaves every process running. It stops at the
  // first process that does not become healthy, as `supervisorctl health restart` does.
  async restartOneAfterAnother(group) {
    const say = (text, isUnderWay = true) => this.note(group, { text, isUnderWay });
    this.halted.delete(group);
    let place = '';
    let left = [];
    try {
      say('begins');
      const { processes, left: down } = await this.ask(`ui/order?${new URLSearchParams({ group })}`);
      left = [...processes];
      if (!processes.length) throw new Error('none of its processes runs');
      for (const [index, process] of processes.entries()) {
        if (this.halted.has(group)) throw new Error('ended on demand');
        place = `${index + 1} of ${processes.length}: `;
        left.shift();
        say(`${place}${process} is restarted`);
        await this.act({ action: 'restart', process, wait: true });
        say(`${place}${process} waits to be healthy`);
        await this.untilHealthy(process);
      }
      say(`all ${processes.length} restarted, and healthy${down.length ? `; not running: ${down.join(', ')}` : ''}`, false);
      this.tell(`${group}: all ${processes.length} restarted one after another, and healthy`, 'done');
    } catch (why) {
      const rest = left.length ? `; left as they are: ${left.join(', ')}` : '';
      // fetch raises TypeError when there is no answer.
      const isGone = why instanceof TypeError;
      const reason = isGone ? 'no answer of supervisord; a restart that has begun goes on' : why.message;
      const text = `stopped, ${place}${reason}${rest}`;
      say(text, false);
      this.tell(`${group}: ${text}`, 'failed');
    }
  }

  async untilHealthy(process) {
    const ends = performance.now() + TIMEOUT;
    let outcome;
    do {
      outcome = await this.ask(`ui/wait?${new URLSearchParams({ process })}`);
    } while (!outcome.healthy && !outcome.useless && performance.now() < ends);
    if (outcome.healthy) return;
    const why = outcome.failing.map(({ check, state, reason }) => `${check} ${state}: ${reason}`.trim()).join('; ');
    throw new Error(`${process} is not healthy: ${why}`);
  }
}
