/** Gives a new user namespace its ids: user_namespaces(7), newuidmap(1). */
import { readlinkSync, statSync, writeFileSync } from 'node:fs';
import { errnoName, errnoText, Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { trace } from '../../base/trace.js';
import type { IdMap } from '../procfs/own-id-map.js';
import { isWithout, lackingHint, missingCallHint, policyHint } from '../refusals/confinement.js';
import { switchHint, tooManyProcesses } from '../refusals/refusals.js';
import { type IdMaps, mapText } from './id-maps.js';

/**
 * Writes the maps for the waiting child. `otherwise` is a hint for the case that the helper programs fail. Throws
 * `Failure` 77.
 */
export function writeMaps(pid: number, { uid, gid, helped }: IdMaps, otherwise: string): void {
  // Otherwise the files would be those of another process.
  if (readlinkSync('/proc/self') !== String(process.pid))
    throw new Failure(Status.notPermitted, '/proc', 'it shows another PID namespace than that of this process', {
      hint: 'mount -t proc proc /proc; unshare does that with --mount-proc, bwrap with --proc /proc',
    });
  if (helped) {
    runHelpers(pid, uid, gid, otherwise);
    return;
  }
  // Without this the kernel does not let an ordinary user write gid_map: user_namespaces(7), "setgroups".
  if (isWithout('SETGID')) write(`/proc/${pid}/setgroups`, 'deny');
  write(`/proc/${pid}/uid_map`, mapText(uid));
  write(`/proc/${pid}/gid_map`, mapText(gid));
}

function write(path: string, text: string): void {
  trace(`* ${text.trim().replaceAll('\n', ', ')} to ${path}`);
  try {
    writeFileSync(path, text);
  } catch (error) {
    const name = errnoName(error);
    if (name === undefined) throw error;
    throw new Failure(Status.notPermitted, `writing ${path}`, errnoText(name), {
      cause: error,
      hint: switchHint() ?? whoMayMap(path),
    });
  }
}

/** Source: user_namespaces(7), "Defining user and group ID mappings". */
function whoMayMap(path: string): string {
  if (process.geteuid!() === 0) {
    const lacking = lackingHint(['SETUID', 'SETGID', 'SETFCAP']);
    return `${lacking ?? 'root needs CAP_SETUID, CAP_SETGID and CAP_SETFCAP for that'}, and an ordinary user needs none`;
  }
  return statSync(path).uid === process.geteuid!() ? 'user_namespaces(7) tells who may' : whyOfRoot();
}

/**
 * Why root has the files of this process in /proc, and of those that it makes: proc_pid(5), PR_SET_DUMPABLE(2const).
 */
function whyOfRoot(): string {
  const differs = process.getuid!() !== process.geteuid!() || process.getgid!() !== process.getegid!();
  return differs
    ? 'the real user and group of this process are not the effective ones, as in a set-group-ID program, and so that file is of root: setpriv --keep-groups --regid $(id -g) in front of it makes them the same'
    : 'that file is of root, since this user may not read the executable of node: chmod a+r';
}

function runHelpers(pid: number, uid: IdMap, gid: IdMap, otherwise: string): void {
  const { spawnSync } = process.getBuiltinModule('node:child_process');
  for (const [program, map] of [
    ['newuidmap', uid],
    ['newgidmap', gid],
  ] as const) {
    const words = [String(pid), ...map.flat().map(String)];
    trace(`* ${[program, ...words].join(' ')}`);
    const { status, signal, stderr, error } = spawnSync(program, words, {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
    });
    if (status === 0) continue;
    const code = errnoName(error);
    const why = code ? errnoText(code) : stderr.trim() || `it ended with ${signal ?? `status ${status}`}`;
    const hint = code === 'EAGAIN' ? tooManyProcesses : helperHint(why, otherwise);
    throw new Failure(Status.notPermitted, program, why, { cause: error, hint });
  }
}

/** Why a helper failed that said this. It opens the map with openat2(2). */
function helperHint(said: string, otherwise: string): string {
  if (said.endsWith('Function not implemented')) return missingCallHint('openat2');
  // It has its powers then: subuid(5), nsswitch.conf(5).
  if (said.endsWith('not allowed'))
    return `it does not take the grants from /etc/sub${said.startsWith('newgidmap') ? 'gid' : 'uid'}: /etc/nsswitch.conf may name another source; ${otherwise}`;
  return policyHint('user namespace') ?? `it has to be set-user-ID root; ${otherwise}`;
}
