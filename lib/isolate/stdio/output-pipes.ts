/**
 * Pipes in the place of what cannot be opened by name on stdout and stderr. Above all that is a socket, as in a unit of
 * systemd. /dev/stdout leads to /proc/self/fd/1, and to open a socket there fails with ENXIO: images whose log file is a
 * link to it would not start. So the command gets a pipe, as from docker, and the supervisor copies from there to the
 * socket (output.ts).
 *
 * It does the same for a pipe that another user has made, as in `sudo -u me md-isolate ... | cat`, and in `sudo md-isolate
 * --userns range ... | cat`: only its owner can open that, or let others do so.
 *
 * And for a file or a terminal that the user of the container may not write to by its mode, as in `sudo md-isolate -u
 * www-data ... >log`: a server would not start. It is the caller's, so neither its mode nor its owner may change.
 *
 * A socket on stdin stays what it is: whoever copies has to read ahead, and what the command does not read belongs to
 * the caller. So does one that is on stdin and an output: it is a connection, as from inetd, and the command may treat
 * it as one. A terminal on both is none. Nor does a pipe replace what is not a stream: each write to that is a message,
 * and a pipe would not keep them apart.
 */
import { accessSync, constants, type Stats } from 'node:fs';
import { ignoring } from '../../base/failure.js';
import { trace } from '../../base/trace.js';
import { isTerminal } from '../../sys/files/terminal.js';
import { dup3, fchown, fcntl, getsockopt, pipe2 } from '../../sys/syscalls/calls.js';
import { F, O, SO_TYPE, SOCK, SOL_SOCKET } from '../../sys/syscalls/constants.js';
import { type IdMaps, idInside } from '../../sys/user-namespace/id-maps.js';
import { type PlanStep, step } from '../child/step.js';
import { isPipe, nameOf, type Stdio } from './stdio.js';

/** Of the container. */
interface User {
  uid: number;
  groups: readonly number[];
}

/** A pipe in the place of something that cannot be opened by name. */
export interface OutputPipe {
  /** The descriptors that are the same one: 1, 2 or both, which then keep their common order. */
  fds: readonly number[];
  why: string;
  read: number;
  write: number;
}

/** Makes the pipes that are needed. Usually that is none. */
export function outputPipes(stdio: Stdio, user: User, maps: IdMaps | undefined): OutputPipe[] {
  const [stdin, stdout, stderr] = stdio;
  const found = [1, 2].flatMap((fd) => {
    const what = isConnection(stdio[fd]!, stdin) ? undefined : obstacle(fd, stdio[fd]!, user, maps);
    return what === undefined ? [] : [{ fds: [fd], what }];
  });
  const [first, second] = found;
  if (first && second && isSame(stdout, stderr)) return [outputPipe([1, 2], first.what)];
  return found.map(({ fds, what }) => outputPipe(fds, what));
}

/** Why a descriptor cannot be opened by name, if it can be replaced. */
function obstacle(fd: number, stats: Stats, user: User, maps: IdMaps | undefined): string | undefined {
  if (stats.isSocket()) return isStream(fd) ? 'a socket, which nobody can open by name (ENXIO)' : undefined;
  // What is open for reading alone takes no output under any name.
  if (isReadOnly(fd)) return undefined;
  if (stats.isFile() || isTerminal(fd)) {
    if (userMayWrite(stats, user, maps)) return undefined;
    return `a ${stats.isFile() ? 'file' : 'terminal'} that the user of the container cannot open by name (EACCES)`;
  }
  if (!stats.isFIFO() || (stats.mode & 0o002) !== 0 || !isPipe(fd)) return undefined;
  // The root of a user namespace may open what belongs to an id that this has.
  const hasOwner = maps === undefined || idInside(maps.uid, stats.uid) !== undefined;
  if (hasOwner && mayWrite(`/proc/self/fd/${fd}`)) return undefined;
  return 'a pipe of another user, which no one else can open by name (EACCES)';
}

/** By the mode of the file. What an access control list may permit besides, the pipe does as well. */
function userMayWrite({ mode, ...file }: Stats, { uid, groups }: User, maps: IdMaps | undefined): boolean {
  const owner = maps ? idInside(maps.uid, file.uid) : file.uid;
  const group = maps ? idInside(maps.gid, file.gid) : file.gid;
  if (owner === uid) return (mode & 0o200) !== 0;
  // Root of a user namespace has power over the files whose owner and group this has.
  if (uid === 0 && owner !== undefined && group !== undefined) return true;
  const isMember = group !== undefined && groups.includes(group);
  return (mode & (isMember ? 0o020 : 0o002)) !== 0;
}

function isReadOnly(fd: number): boolean {
  return (fcntl(fd, F.GETFL, 0) & (O.WRONLY | O.RDWR)) === O.RDONLY;
}

/** In a user namespace around this process an owner outside of it cannot be told from user 65534: the kernel can. */
function mayWrite(path: string): boolean {
  const may = ignoring(['EACCES'], () => {
    accessSync(path, constants.W_OK);
    return true;
  });
  return may ?? false;
}

/** Of stdin and an output. */
function isConnection(output: Stdio[number], stdin: Stdio[number]): boolean {
  return isSame(output, stdin) && !output.isCharacterDevice();
}

function isSame(a: Stdio[number], b: Stdio[number]): boolean {
  return a.dev === b.dev && a.ino === b.ino;
}

function isStream(fd: number): boolean {
  const type = Buffer.alloc(4);
  const size = Buffer.alloc(4);
  size.writeInt32LE(type.length);
  getsockopt(fd, SOL_SOCKET, SO_TYPE, type, size);
  return type.readInt32LE() === SOCK.STREAM;
}

function outputPipe(fds: readonly number[], what: string): OutputPipe {
  const ends = Buffer.alloc(8);
  const why = `The caller's ${fds.map(nameOf).join(' and ')} ${fds.length > 1 ? 'are' : 'is'} ${what}: the command gets a pipe, and the supervisor copies.`;
  trace(`# ${why}`);
  pipe2(ends, O.CLOEXEC);
  const read = ends.readInt32LE(0);
  fcntl(read, F.SETFL, O.NONBLOCK);
  return { fds, why, read, write: ends.readInt32LE(4) };
}

/** The command writes to the pipes. */
export function pipeSteps(pipes: readonly OutputPipe[]): PlanStep[] {
  return pipes.flatMap(({ fds, write, why }) => fds.map((fd) => step(dup3, [write, fd, 0], why, { man: 'open(2)' })));
}

/** Unlike those of the caller, these pipes are made for this container alone: they become the user's, as in docker. */
export function ownerSteps(pipes: readonly OutputPipe[], uid: number): PlanStep[] {
  if (uid === 0) return [];
  // An id that the user namespace does not have is an error later on, where the message can say so.
  return pipes.map(({ fds: [fd] }) =>
    step(fchown, [fd!, uid, -1], `The user may open /dev/${nameOf(fd!)} by name.`, { onError: 'continue' }),
  );
}
