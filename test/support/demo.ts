/**
 * `make demo`: pulls and runs a container with nothing but this checkout. Starts the embedded registry, puts a small
 * image into it, runs the pipe a stage at a time and prints what each command wrote. Leaves nothing behind.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { demoImage } from './demo-image.js';
import { put } from './image.js';
import { type Registry, startRegistry } from './registry.js';
import { jsonLines, type Result, remove, shell } from './run.js';

const bold = process.stdout.isTTY ? (text: string) => `\x1b[1m${text}\x1b[0m` : (text: string) => text;
const lineWidth = 100;

async function demo(directory: string, registry: Registry): Promise<void> {
  const { index, origin } = await demoImage(join(directory, 'stage'));
  await put(registry, 'demo', ['latest'], index);
  const image = registry.image('demo');
  const run = (line: string) => show(line, directory);

  say(
    'Containers as a pipeline of tiny commands, in a demo that needs no network: a registry runs inside it, with a',
    'token service that challenges as Docker Hub does. It serves `demo`, a multi-platform image made of',
    `${origin}.`,
  );

  say('1. May I? The registry refuses with a challenge; the token service that it names hands out a token.');
  const token = await documents(run(`md-token ${image}`), {});

  say("2. What is it? The index has an image for each platform; this machine's is chosen, and every digest checked.");
  const manifest = await documents(run(`md-token ${image} | md-manifest`), token);

  say('3. Fetch it. Layers land in the store and are announced, in order, as soon as they are verified.');
  await documents(run(`md-token ${image} | md-manifest | md-fetch-layer`), manifest);

  say('4. Unpack it. This is the whole pull. The layers are in the store by now, so none is fetched again.');
  await documents(run(`md-token ${image} | md-manifest | md-fetch-layer | md-unpack rootfs`), manifest);
  plain(await run('ls rootfs rootfs/root'));
  const blobs = registry.lines('registry').filter((line) => /^GET .*\/blobs\//.test(line));
  say(
    `The registry was asked ${registry.requests.length} times in all; ${blobs.length} times for a blob, ` +
      `${new Set(blobs).size} of them different ones.`,
  );

  say('5. Run a command in it: process 1 of its own world, with its own mounts, hostname and devices.');
  const line = `md-isolate rootfs /bin/sh -c 'cat /etc/motd; ps; echo "$(hostname), user $(id -u), DEMO=$DEMO"'`;
  isolated(await run(line));
}

/** Runs a line of shell as a reader would type it. */
async function show(line: string, directory: string): Promise<Result> {
  console.log(`\n${bold(`$ ${line}`)}`);
  return shell(line, [], { cwd: directory, env: { MD_HOME: join(directory, 'home') } });
}

/** Prints the JSON lines that came back, without the fields that the reader has seen already; returns the first one. */
async function documents(running: Promise<Result>, seen: Record<string, unknown>): Promise<Record<string, unknown>> {
  const result = await running;
  expectSuccess(result);
  const [first = {}, ...rest] = jsonLines(result.stdout);
  const known = Object.entries(first).filter(([key, value]) => JSON.stringify(seen[key]) === JSON.stringify(value));
  console.log(known.length > 0 ? `{ ... ${known.map(([key]) => key).join(', ')} as above` : '{');
  for (const [key, value] of Object.entries(first)) if (!known.some(([name]) => name === key)) field(key, value);
  for (const key of Object.keys(seen)) if (!(key in first)) console.log(`  (${key} is dropped here)`);
  console.log('}');
  for (const line of rest) console.log(shorten(JSON.stringify(line)));
  return first;
}

function field(key: string, value: unknown): void {
  const text = key === 'authorization' && typeof value === 'string' ? value.replace(/ .*/, ' ***') : value;
  console.log(shorten(`  ${JSON.stringify(key)}: ${JSON.stringify(text)}`));
}

function shorten(text: string): string {
  return text.length > lineWidth ? `${text.slice(0, lineWidth - 3)}...` : text;
}

function plain(result: Result): void {
  expectSuccess(result);
  process.stdout.write(result.stdout);
}

/** The one step that may be refused to an ordinary user: then it says why, and what root would add. */
function isolated(result: Result): void {
  process.stdout.write(result.stdout);
  if (result.status === 0) {
    say(
      'That is all. With an image from Docker Hub it is: dist/bin/md-run alpine ls -l /',
      'The commands are in dist/bin: --help on each tells the rest, and -x shows what it does.',
    );
    return;
  }
  process.stderr.write(result.stderr);
  if (process.getuid?.() === 0) throw new Error(`md-isolate ended with status ${result.status}`);
  say(
    `md-isolate ended with status ${result.status}: this step is not permitted to an ordinary user here.`,
    'As root (`sudo make demo`) it shows the command as process 1 of a container.',
  );
}

function expectSuccess({ status, stderr }: Result): void {
  process.stderr.write(stderr);
  if (status !== 0) throw new Error(`the line above ended with status ${status}`);
}

function say(...lines: string[]): void {
  console.log(`\n${lines.join('\n')}`);
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'md-demo-'));
  const registry = await startRegistry({ auth: 'token' });
  try {
    await demo(directory, registry);
  } finally {
    await registry.close();
    remove(directory);
  }
}

await main().catch((error: unknown) => {
  console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
