/** A small root filesystem of busybox, and a way to run things in it. */
import { chmodSync, copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import type { RunConfig } from '../../lib/base/oci.js';
import type { RootfsDocument } from '../../lib/pipe/document.js';
import { binDir, root as checkout, md, needsRoot, type Result, type RunOptions, scratch } from './run.js';

/** The npm package has programs for x64 only. Elsewhere that of Debian's package does, which is static as well. */
export const busybox =
  process.arch === 'x64' ? join(checkout, 'node_modules/busybox-static/bin/busybox') : '/bin/busybox';
const applets =
  'awk cat chmod cut df dd echo env false find getopt grep head hostname id ip kill ln ls md5sum mkdir mkfifo mknod mount nc ' +
  'nohup od ping printf ps pwd readlink rm sed seq setsid sh sleep sort stat stty su tail tee test timeout touch tr true tty ulimit umount ' +
  'uname unshare vi wc yes';

export const needsBusybox: string | false = !existsSync(busybox) && 'not installed: busybox-static';
/** The `skip` of a test that makes a container as root. */
export const needsContainer: string | false = needsRoot || needsBusybox;

/**
 * Makes a root filesystem below a scratch directory, removed after the test. `links` replaces directories by symlinks.
 */
export function makeRoot(t: TestContext, { links = {} }: { links?: Record<string, string> } = {}): string {
  const base = scratch(t);
  chmodSync(base, 0o755);
  const root = join(base, 'root');
  for (const name of ['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp']) {
    if (!(name in links)) mkdirSync(join(root, name), { recursive: true });
  }
  for (const [path, text] of Object.entries(links)) symlinkSync(text, join(root, path));
  chmodSync(join(root, 'tmp'), 0o1777);
  copyFileSync(busybox, join(root, 'bin/busybox'));
  chmodSync(join(root, 'bin/busybox'), 0o755);
  for (const name of applets.split(' ')) symlinkSync('busybox', join(root, 'bin', name));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nuser:x:1000:\nstaff:x:50:user\nwheel:x:10:root,user\n');
  return root;
}

/** Writes the document beside a root filesystem, as md-unpack does, of an image with these defaults for running. */
export function describeRoot(
  root: string,
  config: Partial<RunConfig> = {},
  changes: Partial<RootfsDocument> = {},
): void {
  const document = {
    image: 'example.org/x:1',
    digest: `sha256:${'0'.repeat(64)}`,
    platform: { os: 'linux', architecture: 'amd64' },
    config: { config, rootfs: { type: 'layers', diff_ids: [] } },
    rootfs: root,
    ...changes,
  };
  writeFileSync(`${root}.json`, JSON.stringify(document));
}

/** `md-isolate FLAGS ROOT sh -c SCRIPT`. */
export async function inside(
  root: string,
  script: string,
  flags: string[] = [],
  options: RunOptions = {},
): Promise<Result> {
  return md('md-isolate', [...flags, root, 'sh', '-c', script], options);
}

/** What a script printed in a container, without the last newline; an error when it failed. */
export async function output(
  root: string,
  script: string,
  flags: string[] = [],
  options: RunOptions = {},
): Promise<string> {
  const { status, stdout, stderr } = await inside(root, script, flags, options);
  if (status !== 0) throw new Error(`status ${status}: ${stderr}`);
  return stdout.replace(/\n$/, '');
}

/** Waits until something is so, looking every so many milliseconds; an error after a minute. */
export async function until(condition: () => boolean | Promise<boolean>, every = 20): Promise<void> {
  const end = Date.now() + 60_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`it did not come to this: ${condition.toString()}`);
    await new Promise((done) => setTimeout(done, every));
  }
}

/** `-v` for what Node needs of the host, and for the commands: with these a container can run them. */
export const commandVolumes: readonly string[] = ['/usr', '/lib', '/lib64', dirname(process.execPath), checkout]
  .filter((path) => existsSync(path))
  .map((path) => `-v=${path}:${path}:ro`);

/** Puts the commands and Node into the PATH of a script there. */
export const commandPath = `PATH=${binDir}:${dirname(process.execPath)}:$PATH`;
