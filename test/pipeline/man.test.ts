/** The man pages say what `--help` says, to the letter. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { binDir, needs, root, run, scratch } from '../support/run.js';

const commands = 'md-token md-manifest md-fetch-layer md-unpack md-isolate md-prune md-pull md-run'.split(' ');
const skip = needs('mandoc');

/** Fails for a page that mandoc warns of; its style hints are about the width of the source. */
async function rendered(page: string): Promise<string> {
  const lint = await run(['mandoc', '-T', 'lint', '-W', 'warning', page]);
  assert.deepEqual([lint.status, lint.stdout], [0, '']);
  const { stdout } = await run(['mandoc', '-T', 'utf8', page]);
  // Bold and italic letters are struck over.
  return stdout.replace(/.[\b]/gu, '').replace(/\s+/g, ' ');
}

/** The lines of a help text as a page has them: headings differ, and columns are gone. */
function linesOf(help: string): string[] {
  const lines = help.split('\n').map((line) => line.replace(/^(usage|Flags|Examples|Exit statuses):/, '').trim());
  return lines.filter((line) => line !== '').map((line) => line.replace(/ {2,}(?:# )?/, ' '));
}

for (const command of commands) {
  test(`${command}(1) renders without a warning, and has every line of --help`, { skip }, async () => {
    const page = await rendered(join(root, 'dist/share/man/man1', `${command}.1`));
    const { stdout } = await run([join(binDir, command), '--help']);
    const lines = linesOf(stdout);
    assert.ok(lines.length > 10);
    for (const line of lines) assert.ok(page.toLowerCase().includes(line.toLowerCase()), line);
    for (const other of commands) if (other !== command) assert.ok(page.includes(`${other}(1)`), other);
  });
}

test('what roff would take for its own is in a page as it stands', { skip }, async (t) => {
  const directory = scratch(t);
  const help = [
    'usage: md-odd [FLAGS] [DIR]',
    '',
    'Do as \\fBthis\\fR says. See "it".',
    '',
    ".TH is no request, 'br neither, and a-b is a--b",
    '.. a word at the end \\',
    "'tis `so` ^ and ~, \\n(.g \\*(lq %",
    '  printf \'%s\\n\' "$x" \\',
    '',
    'Flags:',
    '  -x, --odd "A\\B"',
    '               .so /etc/passwd',
    '      --net host|none',
    "               'ig",
    '',
    'Examples:',
    "  ... | md-odd '\\e'  # .ex of it",
    '',
    'Exit statuses:',
    '    0  .done',
  ].join('\n');
  writeFileSync(join(directory, 'help'), help);
  writeFileSync(join(directory, 'md-odd'), '#!/bin/sh\ncat "$(dirname "$0")/help"\n', { mode: 0o755 });
  const build = [process.execPath, join(root, 'dist/cmd/help/main.mjs'), directory, join(directory, 'md-odd')];
  const { status, stderr } = await run(build, { cwd: root });
  assert.equal(status, 0, stderr);
  const page = await rendered(join(directory, 'man/man1/md-odd.1'));
  for (const line of linesOf(help)) assert.ok(page.toLowerCase().includes(line.toLowerCase()), `${line}: ${page}`);
});
