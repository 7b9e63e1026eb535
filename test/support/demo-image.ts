/**
 * A small real image for the demo and for tests that run something in a container: busybox on two layers, packed with
 * the `tar` package, for this machine's processor and (as a text file only) for another one.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import * as tar from 'tar';
import { attestation, type BuiltIndex, type BuiltLayer, hostArchitecture, image, index, layer } from './image.js';
import { cleanEnv } from './run.js';

/** The programs that go into the image. */
interface Userland {
  /** Where they come from, for people. */
  origin: string;
  /** Files to copy: path in the image, path here. */
  files: [inside: string, outside: string][];
  /** Symlinks: path in the image, target. */
  links: [path: string, target: string][];
}

interface DemoImage {
  index: BuiltIndex;
  /** What the programs in it are, for people. */
  origin: string;
}

/** Of bin/busybox in the npm package busybox-static 1.35.0, which its README publishes. */
const busyboxSha256 = '6e123e7f3202a8c1e9b1f94d8941580a25135382b99e8d3e34fb858bba311348';

/** Builds the image, staging its files in `directory`. */
export async function demoImage(directory: string): Promise<DemoImage> {
  const userland = findUserland();
  const base = await pack(stageBase(join(directory, 'base'), userland));
  const changes = await pack(stageChanges(join(directory, 'changes')));
  const own = image({
    layers: [base, changes],
    run: { Env: ['PATH=/usr/bin:/bin', 'DEMO=yes'], Cmd: ['/bin/sh'], WorkingDir: '/' },
  });
  const otherArchitecture = hostArchitecture === 'arm64' ? 'amd64' : 'arm64';
  const other = image({
    layers: [layer([{ name: 'README', data: `A stand-in for the image for ${otherArchitecture}.\n` }])],
    architecture: otherArchitecture,
  });
  return { index: index([other, own, attestation(own)]), origin: userland.origin };
}

function stageBase(root: string, { files, links }: Userland): string {
  for (const name of ['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp', 'usr/bin', 'var']) {
    mkdirSync(join(root, name), { recursive: true });
  }
  chmodSync(join(root, 'tmp'), 0o1777);
  write(root, 'etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n');
  write(root, 'etc/group', 'root:x:0:\nnogroup:x:65534:\n');
  write(root, 'etc/motd', 'This line is from the first layer, and nobody should see it.\n');
  write(root, 'root/leftover', 'The second layer deletes this file.\n');
  for (const [inside, outside] of files) {
    mkdirSync(dirname(join(root, inside)), { recursive: true });
    copyFileSync(outside, join(root, inside));
    chmodSync(join(root, inside), 0o755);
  }
  for (const [path, target] of links) symlinkSync(target, join(root, path));
  return root;
}

function stageChanges(root: string): string {
  for (const name of ['etc', 'root']) mkdirSync(join(root, name), { recursive: true });
  write(root, 'etc/motd', 'Hello from a container that a pipeline made.\n');
  write(root, 'root/.wh.leftover', '');
  return root;
}

function write(root: string, name: string, text: string): void {
  writeFileSync(join(root, name), text);
  chmodSync(join(root, name), 0o644);
}

/** An archive of a directory in which everything belongs to root, whoever stages it. */
async function pack(root: string): Promise<BuiltLayer> {
  const options = {
    cwd: root,
    noDirRecurse: false,
    mtime: new Date('2026-01-01T00:00:00Z'),
    onWriteEntry: ({ stat }: tar.WriteEntry) => {
      if (stat) Object.assign(stat, { uid: 0, gid: 0 });
    },
  };
  const chunks: Buffer[] = [];
  for await (const chunk of tar.create(options, ['.'])) chunks.push(chunk as Buffer);
  return layer(Buffer.concat(chunks));
}

/** The npm package where it fits the processor, else the machine's busybox, else its shell and a few tools. */
function findUserland(): Userland {
  const packaged = packagedBusybox();
  if (packaged) return busyboxUserland('busybox 1.35.0 of the npm package busybox-static', packaged);
  const own = which('busybox');
  if (own) return busyboxUserland(`this machine's ${own}`, own);
  const tools = ['sh', 'ls', 'cat', 'id', 'uname', 'hostname', 'ps', 'true', 'false', 'sleep', 'env', 'mount'];
  const found = tools.map((name) => [name, which(name)] as const).filter(([, path]) => path !== undefined);
  const files = found.map(([name, path]): [string, string] => [`bin/${name}`, path!]);
  const libraries = new Set(files.flatMap(([, path]) => librariesOf(path)));
  return { origin: "this machine's shell", files: [...files, ...asFiles(libraries)], links: [] };
}

function busyboxUserland(origin: string, path: string): Userland {
  const libraries = asFiles(librariesOf(path));
  const applets = execFileSync(path, ['--list'], { encoding: 'utf8' }).split('\n');
  const links = applets
    .filter((name) => name !== '' && name !== 'busybox')
    .map((name): [string, string] => [`bin/${name}`, 'busybox']);
  return { origin, files: [['bin/busybox', path], ...libraries], links };
}

function packagedBusybox(): string | undefined {
  if (process.arch !== 'x64') return undefined;
  const require = createRequire(import.meta.url);
  const path = join(dirname(require.resolve('busybox-static/package.json')), 'bin/busybox');
  const sha256 = createHash('sha256').update(readFileSync(path)).digest('hex');
  if (sha256 !== busyboxSha256) throw new Error(`${path}: sha256 is ${sha256}, expected ${busyboxSha256}`);
  return path;
}

function which(name: string): string | undefined {
  const directories = (cleanEnv().PATH ?? '').split(delimiter);
  return directories.map((directory) => join(directory, name)).find((path) => existsSync(path));
}

/** What ldd names for a program: nothing for one that is linked statically. */
function librariesOf(path: string): string[] {
  try {
    const text = execFileSync('ldd', [path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return [...text.matchAll(/(?:=>|^)\s*(\/\S+)/gm)].map(([, library]) => library!);
  } catch {
    return [];
  }
}

function asFiles(libraries: Iterable<string>): [string, string][] {
  return [...libraries].map((path) => [path.slice(1), path]);
}
