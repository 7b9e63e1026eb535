/** An ordinary user with a root filesystem of its own, for tests that run as root and become that user. */
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { makeRoot, needsContainer } from './rootfs.js';
import { copyCommands, has, run } from './run.js';

const uid = 61_234;
export const needsRootless: string | false = needsContainer || (!has('setpriv') && 'not installed: setpriv');

interface Rootless {
  uid: number;
  /** The root filesystem. */
  root: string;
  /** A directory of the user's, with nothing else in it than what this needs. */
  home: string;
  /** What runs md-isolate for who is the user already. */
  container: (...args: string[]) => string[];
  /** What runs md-isolate as the user. */
  command: (...args: string[]) => string[];
  /** The same, run by a shell that waits for it. */
  accompanied: (...args: string[]) => string[];
}

export async function rootless(t: TestContext): Promise<Rootless> {
  const root = makeRoot(t);
  const home = join(root, '..');
  await run(['chown', '-R', `${uid}:${uid}`, home]);
  copyCommands(home);
  const asUser = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--inh-caps=-all'];
  const node = [process.execPath, join(home, 'bundle/md-isolate.cjs')];
  return {
    uid,
    root,
    home,
    container: (...args) => [...node, ...args],
    command: (...args) => [...asUser, ...node, ...args],
    accompanied: (...args) => [...asUser, 'sh', '-c', '"$@" & echo $!; wait $!; exit $?', 'sh', ...node, ...args],
  };
}
