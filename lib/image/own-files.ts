/**
 * Files that are being written beside the store: `NAME.PIDNS.PID.START`, where the last three tell the process that
 * writes it from all others, those in other containers that share the store included.
 */
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoName } from '../pipe/failure.js';

/** A file whose owner lives in another PID namespace, where we cannot look: nobody pauses for as long as this. */
const silenceMs = 60 * 60 * 1000;

/** The name under which this process writes what belongs to `name`, which may be a digest. */
export function ownPath(directory: string, name: string): string {
  return join(directory, `${name.replace(':', '-')}.${pidNamespace()}.${process.pid}.${startTime(process.pid) ?? 0}`);
}

/** Whether the owner of a file is gone. */
export function isAbandoned(directory: string, name: string): boolean {
  const [, namespace, pid, start] = /\.([0-9]+)\.([0-9]+)\.([0-9]+)$/.exec(name) ?? [];
  if (pid === undefined || namespace === unknown || namespace !== pidNamespace()) return isOld(join(directory, name));
  return Number(pid) !== process.pid && startTime(Number(pid)) !== start;
}

/** Renames a finished file to where it belongs. That somebody else has put the same there already is as good. */
export function moveInto(temporary: string, path: string): void {
  fs.mkdirSync(dirname(path), { recursive: true });
  try {
    fs.renameSync(temporary, path);
  } catch (error) {
    // Another process may have taken this one for dead and finished its file.
    if (errnoName(error) !== 'ENOENT' || !fs.existsSync(path)) throw error;
  }
}

/** Writes a small file whole or not at all, and so that it outlasts a power failure. */
export function writeWhole(directory: string, path: string, content: Buffer | string): void {
  const temporary = ownPath(directory, path.slice(path.lastIndexOf('/') + 1));
  fs.writeFileSync(temporary, content, { mode: 0o644, flush: true });
  moveInto(temporary, path);
}

function isOld(path: string): boolean {
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  return stat !== undefined && Date.now() - stat.mtimeMs > silenceMs;
}

const unknown = '0';

/** pid_namespaces(7): the link reads `pid:[4026531836]`. */
function pidNamespace(): string {
  try {
    return /[0-9]+/.exec(fs.readlinkSync('/proc/self/ns/pid'))?.[0] ?? unknown;
  } catch (error) {
    // Without /proc nobody can tell who is alive; the age of a file has to do.
    if (errnoName(error) === undefined) throw error;
    return unknown;
  }
}

/** When a process started, in clock ticks since boot, which tells it from a later one of the same number; proc(5), stat. */
function startTime(pid: number): string | undefined {
  let stat: string;
  try {
    stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch (error) {
    if (errnoName(error) === undefined) throw error;
    return undefined;
  }
  // The command name, in parentheses, may hold spaces and parentheses. What follows it starts with field 3, the state.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const isDead = fields[0] === 'Z' || fields[0] === 'X';
  return isDead ? undefined : fields[19];
}
