/**
 * Every command line that the README shows, run as it stands there.
 *
 * The convention: fenced blocks with the info string `sh`. A block in which lines start with `$ ` is a transcript:
 * those lines are commands, the others are their output (not compared). In any other `sh` block each line is a command.
 * Comments and empty lines are passed over; a line that ends with a backslash goes on in the next one. A command ends
 * with status 0, unless a comment behind it says `# exit status N`. Blocks that are not to be run have another info
 * string (`text`, `console`, `json`).
 *
 * All lines run from top to bottom in one empty directory, each by a shell of its own, with an empty stdin, as root, in
 * a network where every registry that the README names is the embedded one and serves the image of the demo under every
 * name and tag. `sudo` runs what follows it. Lines that start with `make`, `npm`, `git` or `cd` are about the checkout:
 * for `make` the targets must exist, and the others are not run. A line with a tool of somebody else that is not
 * installed is skipped by name.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { jsonLines, needs, needsRoot, root, run, scratch } from '../support/run.js';

interface Command {
  line: string;
  /** The exit status that the README says. */
  status: number;
}

function commandsOf(markdown: string): Command[] {
  const blocks = [...markdown.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, body]) => body!);
  return blocks.flatMap((block) => {
    const lines = block.replaceAll('\\\n', '').split('\n');
    const typed = lines.filter((line) => line.startsWith('$ ')).map((line) => line.slice(2));
    const commands = (typed.length > 0 ? typed : lines).filter((line) => /^[^#\s]/.test(line));
    return commands.map((line) => ({ line, status: Number(/# exit status (\d+)/.exec(line)?.[1] ?? 0) }));
  });
}

/** The registries, apart from docker.io, in an image reference of a command. */
function hostsOf(commands: Command[]): string[] {
  const names = commands.flatMap(({ line }) => [...line.matchAll(/(?:^|\s)([a-z0-9-]+(?:\.[a-z0-9-]+)+)\//g)]);
  return [...new Set(names.map(([, name]) => name!))];
}

const aboutCheckout = /^(?:sudo )?(make|npm|git|cd)\b/;
const peers = ['skopeo', 'runc'];
const readme = join(root, 'README.md');
const commands = existsSync(readme) ? commandsOf(readFileSync(readme, 'utf8')) : [];
const skip = !existsSync(readme) && 'there is no README yet';

suite('the README', { skip }, () => {
  test('shows make targets that exist', async (t) => {
    const lines = commands.map(({ line }) => line).filter((line) => /^(?:sudo )?make\b/.test(line));
    assert.ok(lines.length >= 2, 'the README shows fewer than two make targets');
    for (const line of lines) {
      const [, rest = ''] = /make\b([^#&|;]*)/.exec(line) ?? [];
      await t.test(line, async () => {
        const { status, stderr } = await run(['sh', '-c', `make -n ${rest}`], { cwd: root });
        assert.equal(status, 0, stderr);
      });
    }
  });

  const skipLines = needsRoot || needs('unshare', 'ip', 'openssl', 'mount', 'jq');
  test('shows command lines that run', { skip: skipLines }, async (t) => {
    const toRun = commands.filter(({ line }) => !aboutCheckout.test(line));
    assert.ok(toRun.length >= 3, 'the README shows fewer than three command lines');
    const script = join(scratch(t), 'script.json');
    writeFileSync(script, JSON.stringify({ lines: toRun.map(({ line }) => line), hosts: hostsOf(toRun) }));
    const world = [process.execPath, join(root, 'dist/test/support/readme-world.js'), script];
    const { stdout, stderr } = await run(['unshare', '--mount', '--net', ...world], { timeout: 300_000 });
    const results = jsonLines(stdout);
    for (const [i, { line, status }] of toRun.entries()) {
      await t.test(line, { skip: needs(...peers.filter((peer) => line.includes(`${peer} `))) }, () => {
        const result = results[i];
        assert.ok(result, stderr);
        assert.equal(result.status, status, String(result.stderr));
      });
    }
  });
});
