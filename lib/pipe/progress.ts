/**
 * Shows progress on stderr. On a terminal there is a bar for each thing under way; above them, a plain line for each
 * finished one. As JSON there is a line for each thing, up to ten times a second.
 */
import { monotonic } from '../base/clock.js';
import { Failure, oneLine } from '../base/failure.js';
import { Status } from '../base/status.js';
import { isTerminal, makeRoomBy, terminalSize, writeToStderr } from '../base/terminal.js';
import type { Flag } from './flags.js';

export const progressFlag = {
  kind: 'string',
  value: 'bar|json|none',
  help: 'a bar by default when stderr is a terminal',
} as const satisfies Flag;

/** One thing that progresses, in bytes. */
interface Bar {
  /** Bytes done so far. */
  at(bytes: number): void;
  /** It is done. `note` is shown instead of the time ("already there"). */
  done(note?: string): void;
}

export interface Progress {
  bar(label: string, total: number): Bar;
  /** Permits drawing, when it was held back: two stages that draw on one terminal would overwrite each other. */
  release(): void;
  /** Draws for the last time. To be called before an error line, too. */
  end(): void;
}

interface State {
  label: string;
  total: number;
  bytes: number;
  begun: number;
  note: string | undefined;
}

const redrawMs = 100;
const silent: Progress = { bar: () => ({ at() {}, done() {} }), release() {}, end() {} };

/**
 * Progress as `--progress` asks for it; without that, bars where stderr is a terminal that can move its cursor. With
 * `held` nothing is drawn until `release`. Throws `Failure` 64.
 */
export function makeProgress(flag: string | undefined, verb: string, { held = false } = {}): Progress {
  const mode = progressMode(flag);
  if (mode === 'none') return silent;
  return mode === 'json' ? jsonProgress(verb) : new BarProgress(verb, held);
}

function progressMode(flag: string | undefined): 'bar' | 'json' | 'none' {
  if (flag === undefined) return process.env.TERM !== 'dumb' && isTerminal(2) ? 'bar' : 'none';
  if (flag === 'bar' || flag === 'json' || flag === 'none') return flag;
  throw new Failure(Status.usage, '--progress', `${JSON.stringify(flag)} is not a mode`, { hint: 'bar, json or none' });
}

function newState(label: string, total: number): State {
  return { label: oneLine(label), total, bytes: 0, begun: monotonic(), note: undefined };
}

function jsonProgress(verb: string): Progress {
  const last = new Map<State, number>();
  const say = (state: State, done: boolean) => {
    const now = monotonic();
    if (!done && now - (last.get(state) ?? 0) < redrawMs) return;
    last.set(state, now);
    const { label, total, bytes, note } = state;
    writeToStderr(`${JSON.stringify({ progress: { verb, label, bytes, total, done, note } })}\n`);
  };
  return {
    ...silent,
    bar: (label, total) => {
      const state = newState(label, total);
      return {
        at: (bytes) => {
          state.bytes = bytes;
          say(state, false);
        },
        done: (note) => {
          state.bytes = total;
          state.note = note;
          say(state, true);
        },
      };
    },
  };
}

class BarProgress implements Progress {
  private readonly active = new Set<State>();
  /** Lines that are shown once more, and then stay. */
  private finished: string[] = [];
  /** How many bars are on the screen. */
  private rows = 0;
  private drawnAt = 0;
  private readonly terminal = terminalSize(2);

  constructor(
    private readonly verb: string,
    private held: boolean,
  ) {
    makeRoomBy((print) => this.makeRoom(print));
  }

  bar(label: string, total: number): Bar {
    const state = newState(label, total);
    this.active.add(state);
    this.draw(true);
    return {
      at: (bytes) => {
        state.bytes = bytes;
        this.draw(false);
      },
      done: (note) => {
        this.active.delete(state);
        this.finished.push(finishedLine(this.verb, { ...state, note }));
        this.draw(true);
      },
    };
  }

  release(): void {
    this.held = false;
    this.draw(true);
  }

  end(): void {
    this.held = false;
    if (this.finished.length > 0 || this.rows > 0) this.draw(true);
    this.active.clear();
    this.rows = 0;
  }

  private draw(force: boolean): void {
    const now = monotonic();
    if (this.held || (!force && now - this.drawnAt < redrawMs)) return;
    this.drawnAt = now;
    const { columns, rows } = this.terminal;
    // No more than there is room for above the cursor: the way up ends at the top, and what has scrolled away stays.
    const shown = [...this.active].slice(0, Math.max(1, rows - 1));
    const bars = shown.map((state) => activeLine(this.verb, state, now, columns));
    const lines = [...this.finished, ...bars].map((line) => `${line.slice(0, columns - 1)}\x1b[K\n`);
    writeToStderr(`${up(this.rows)}\r${lines.join('')}\x1b[J`);
    this.finished = [];
    this.rows = bars.length;
  }

  /** Takes the bars off the screen while a line is printed. */
  private makeRoom(print: () => void): void {
    const drawn = this.rows;
    if (drawn > 0) writeToStderr(`${up(drawn)}\r\x1b[J`);
    this.rows = 0;
    print();
    if (drawn > 0) this.draw(true);
  }
}

/** Moves the cursor up. */
function up(rows: number): string {
  return rows > 0 ? `\x1b[${rows}A` : '';
}

function activeLine(verb: string, { label, total, bytes, begun }: State, now: number, width: number): string {
  const share = total > 0 ? Math.min(1, bytes / total) : 0;
  const perSecond = bytes / Math.max(0.001, (now - begun) / 1000);
  const left = perSecond > 0 ? duration((total - bytes) / perSecond) : '';
  const head = `${verb} ${label} `;
  const tail = ` ${size(bytes)}/${size(total)} ${size(perSecond)}/s ${left}`;
  const room = Math.max(5, Math.min(40, width - head.length - tail.length - 4));
  const full = Math.round(share * room);
  return `${head}[${'='.repeat(full)}${' '.repeat(room - full)}]${tail}`;
}

function finishedLine(verb: string, { label, total, begun, note }: State): string {
  const seconds = (monotonic() - begun) / 1000;
  return `${verb} ${label} ${size(total)} ${note ?? `in ${seconds.toFixed(1)} s`}`;
}

/** Bytes with a decimal unit, as docker shows them: 29.1 MB. */
export function size(bytes: number): string {
  if (bytes < 999.5) return `${Math.round(bytes)} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let amount = bytes / 1000;
  let unit = 0;
  // What would be shown as 1000.0 is one of the next unit.
  for (; amount >= 999.95 && unit < units.length - 1; unit++) amount /= 1000;
  return `${amount.toFixed(1)} ${units[unit]}`;
}

function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '';
  const whole = Math.ceil(Math.max(0, seconds));
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
