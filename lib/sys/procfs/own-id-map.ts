/** The ids of the user namespace that this process is in: user_namespaces(7). */
import { kernelText } from './status.js';

export const idKinds = ['uid', 'gid'] as const;
export type IdKind = (typeof idKinds)[number];

/** Lines of uid_map or gid_map: first id inside, first id outside, how many. */
export type IdMap = [inside: number, outside: number, count: number][];

/** That of the initial user namespace: every id is itself. */
const initial = '0 0 4294967295';

/** Whether this process is in a user namespace other than the initial one. */
export function inUserNamespace(): boolean {
  return ownMap('uid').join() !== initial.replaceAll(' ', ',');
}

/** The map of the user namespace that this process is in. A kernel that has none has no file for it either. */
export function ownMap(kind: IdKind): IdMap {
  const lines = (kernelText(`/proc/self/${kind}_map`) ?? initial).trim().split('\n');
  return lines.map((line) => {
    const [inside = 0, outside = 0, count = 0] = line.trim().split(/\s+/).map(Number);
    return [inside, outside, count];
  });
}
