/** Timing of contenders side by side: alternated, each time in a fresh place, medians and ratios in a table. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cleanEnv, needs, remove } from '../support/run.js';

export interface Contender {
  name: string;
  /** A script for sh; `$1` is a directory of its own, which exists and is empty. */
  script: string;
  /** Programs that it needs; where one is missing it does not run. */
  programs?: string[];
  env?: Record<string, string>;
  /** Run before the clock starts. */
  setup?: string;
  /** Run after it has stopped. */
  tidy?: string;
}

/** What contenders write to stderr. */
const errors = join(workDirectory(), 'stderr');

export interface RaceOptions {
  title: string;
  rounds: number;
  /** Makes the directory for one run, and what removes it once the run is over. */
  place: () => { directory: string; leave: () => void };
}

interface Row {
  name: string;
  times: number[];
}

/**
 * Runs all contenders `rounds` times, in turns, after one round that is not counted, and prints the table, in which the
 * first one's time is 1.00.
 */
export async function race(contenders: Contender[], options: RaceOptions): Promise<void> {
  const present = contenders.filter((it) => !absent(it));
  const rows: Row[] = present.map(({ name }) => ({ name, times: [] }));
  for (let round = 0; round <= options.rounds; round++) {
    for (const [i, contender] of present.entries()) {
      const { directory, leave } = options.place();
      try {
        const time = await timed(contender, directory);
        if (round > 0) rows[i]!.times.push(time);
      } finally {
        if (contender.tidy) await sh(contender.tidy, directory, contender.env);
        leave();
      }
    }
  }
  printTable(rows, options);
  for (const contender of contenders) if (absent(contender)) console.log(`  (${contender.name}: ${absent(contender)})`);
}

function absent({ programs = [] }: Contender): string | false {
  return needs(...programs);
}

async function timed(contender: Contender, directory: string): Promise<number> {
  const { name, script, env } = contender;
  await ready(contender, directory);
  const begun = performance.now();
  const { status, stderr } = await sh(script, directory, env);
  if (status !== 0) throw new Error(`${name}: status ${status}: ${stderr.slice(-2000)}`);
  return performance.now() - begun;
}

async function ready({ name, setup, env }: Contender, directory: string): Promise<void> {
  if (setup === undefined) return;
  const { status, stderr } = await sh(setup, directory, env);
  if (status !== 0) throw new Error(`${name}: setup: status ${status}: ${stderr.slice(-2000)}`);
}

async function sh(script: string, directory: string, env: Record<string, string> = {}) {
  // A file: what Node calls a pipe is a socket, from which md-isolate has to copy.
  const stderr = openSync(errors, 'w+');
  try {
    const [code] = (await once(start(script, directory, env, stderr), 'close')) as [number | null];
    return { status: code ?? 1, stderr: readFileSync(errors, 'utf8') };
  } finally {
    closeSync(stderr);
  }
}

function start(
  script: string,
  directory: string,
  env: Record<string, string> = {},
  stderr: 'ignore' | number = 'ignore',
) {
  return spawn('sh', ['-c', script, 'sh', directory], {
    cwd: directory,
    env: { ...cleanEnv(), ...env },
    stdio: ['ignore', 'ignore', stderr],
  });
}

function printTable(rows: Row[], { title, rounds }: RaceOptions): void {
  const base = median(rows[0]!.times);
  const width = Math.max(...rows.map(({ name }) => name.length));
  console.log(`\n${title} (${rounds} rounds in turns)`);
  console.log(`  ${''.padEnd(width)}    median       min     ratio`);
  for (const { name, times } of rows) {
    const ratio = (median(times) / base).toFixed(2);
    console.log(`  ${name.padEnd(width)} ${ms(median(times))} ${ms(Math.min(...times))} ${ratio.padStart(9)}`);
  }
}

function ms(time: number): string {
  return (time < 1000 ? `${time.toFixed(1)} ms` : `${(time / 1000).toFixed(2)} s`).padStart(9);
}

function median(times: number[]): number {
  const sorted = [...times].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/**
 * Prints the peak memory (VmHWM of proc(5)) of every process that a contender starts, by the name of its program. One
 * run that is not timed: /proc is read a hundred times a second.
 */
export async function memory(
  contenders: Contender[],
  { title, place }: Pick<RaceOptions, 'title' | 'place'>,
): Promise<void> {
  console.log(`\n${title}: peak memory of each process, in MB`);
  for (const contender of contenders.filter((it) => !absent(it))) {
    const { directory, leave } = place();
    await ready(contender, directory);
    const child = start(contender.script, directory, contender.env);
    const peaks = new Map<string, number>();
    const timer = setInterval(() => sample(child.pid!, peaks), 10);
    const [status] = (await once(child, 'close')) as [number | null];
    clearInterval(timer);
    if (contender.tidy) await sh(contender.tidy, directory, contender.env);
    leave();
    if (status !== 0) throw new Error(`${contender.name}: status ${status}`);
    const shown = [...peaks].map(([name, kilobytes]) => `${name} ${Math.round(kilobytes / 1000)}`);
    console.log(`  ${contender.name}: ${shown.join(', ')}`);
  }
}

function sample(ancestor: number, peaks: Map<string, number>): void {
  for (const pid of descendants(ancestor)) {
    const status = readProc(pid, 'status');
    const [, peak] = /^VmHWM:\s+(\d+) kB$/m.exec(status) ?? [];
    const name = programOf(pid);
    if (peak !== undefined && name !== '' && name !== 'sh')
      peaks.set(name, Math.max(peaks.get(name) ?? 0, Number(peak)));
  }
}

function descendants(ancestor: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const [, parent] = /\) . (\d+) /.exec(readProc(Number(name), 'stat')) ?? [];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const found = new Set([ancestor]);
  for (const pid of found) for (const [child, parent] of parents) if (parent === pid) found.add(child);
  return [...found].slice(1);
}

/** A script of Node's is called by the name of the script. */
function programOf(pid: number): string {
  const words = readProc(pid, 'cmdline').split('\0');
  const name = (path = '') => path.replace(/^.*\//, '').replace(/\.c?js$/, '');
  return name(words[0]) === 'node' ? name(words.find((word, i) => i > 0 && !word.startsWith('-'))) : name(words[0]);
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // It ended between the look at /proc and this one.
    return '';
  }
}

/** A directory for the files of a benchmark; removed, with what is mounted below it, however this process ends. */
export function workDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'md-bench-'));
  process.once('exit', () => {
    const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
    const below = mounts.map((line) => line.split(' ')[1] ?? '').filter((path) => path.startsWith(`${directory}/`));
    for (const path of below.reverse()) spawnSync('umount', ['-l', path]);
    remove(directory);
  });
  return directory;
}

/**
 * Fresh directories below `parent`, kept: deleting much makes the next files slower on ext4. The caller removes them.
 */
export function keptPlaces(parent: string): RaceOptions['place'] {
  let count = 0;
  return () => {
    const directory = join(parent, String(count++));
    mkdirSync(directory, { recursive: true });
    return { directory, leave: () => {} };
  };
}

/**
 * The same on a disk that is at rest; what all contenders read, below `inputs`, is in memory for each of them alike.
 */
export function settledPlaces(parent: string, inputs: string): RaceOptions['place'] {
  const place = keptPlaces(parent);
  return () => {
    const it = place();
    settle(inputs);
    return it;
  };
}

/**
 * Has what earlier runs wrote go to the disk and out of memory, which is then free to be used again. Otherwise one
 * contender's files are written back on the next one's time; and memory that a virtual machine has never used before
 * costs several times as much as what is written to it, for whoever comes to it first. As root.
 */
function settle(inputs: string): void {
  execFileSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '1');
  execFileSync('sh', ['-c', 'find "$1" -type f -exec cat {} + >/dev/null', 'sh', inputs]);
}
