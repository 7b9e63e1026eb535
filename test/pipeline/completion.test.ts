/** Completions, in the shells that they are for. */
import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { md, needs, root, run, scratch } from '../support/run.js';
import { shellAt } from '../support/terminal.js';

const share = join(root, 'dist/share');
const bashFile = join(share, 'bash-completion/completions/md-run');
const commands = 'md-token md-manifest md-fetch-layer md-unpack md-isolate md-prune md-pull md-run'.split(' ');

/** A directory to work in, with a store in which images are unpacked, and one that is fetched only. */
function workplace(t: TestContext): { work: string; MD_HOME: string } {
  const home = scratch(t);
  const names = join(home, 'store/rootfs');
  for (const directory of ['work/rootfs', 'store/oci', 'store/rootfs/docker.io/library', 'store/rootfs/ghcr.io/me'])
    mkdirSync(join(home, directory), { recursive: true });
  writeFileSync(join(home, 'work/notes'), '');
  // A tree may be large, and have links of its own.
  mkdirSync(join(names, 'sha256-aa'));
  symlinkSync('/', join(names, 'sha256-aa/alias'));
  symlinkSync('../../sha256-aa', join(names, 'docker.io/library/alpine:latest'));
  symlinkSync('../../sha256-aa', join(names, 'ghcr.io/me/tool:1'));
  symlinkSync('../../sha256-aa', join(names, 'ghcr.io/me/.link.abc'));
  const annotations = { 'io.containerd.image.name': 'docker.io/library/busybox:1.36' };
  writeFileSync(join(home, 'store/oci/index.json'), JSON.stringify({ manifests: [{ annotations }] }));
  return { work: join(home, 'work'), MD_HOME: join(home, 'store') };
}

async function flagsOf(command: string): Promise<string[]> {
  const { stdout } = await md(command, ['--help']);
  return [...stdout.matchAll(/^ {2,6}(?:-\w, )?(--[a-z-]+)/gm)].map(([, flag]) => flag!);
}

for (const command of commands) {
  test(`bash offers every flag of ${command}`, { skip: needs('bash') }, async () => {
    const script = `. "$0"; COMP_LINE="$1 --" COMP_POINT=\${#COMP_LINE} COMP_WORDS=("$1" --) COMP_CWORD=1
      _md_complete "/any/where/$1"; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = await run(['bash', '-c', script, bashFile, command]);
    assert.equal(stderr, '');
    const others = { 'md-run': 'md-isolate', 'md-pull': 'md-fetch-layer' }[command];
    const flags = [...(await flagsOf(command)), ...(others ? await flagsOf(others) : [])];
    assert.deepEqual(stdout.trim().split('\n').sort(), [...new Set(flags)].sort());
  });
}

/** What is typed, and what is on the line after a tab; for a pattern: what is listed after one more. */
const typed: [line: string, result: string | RegExp][] = [
  ['md-isolate --net n', 'md-isolate --net none '],
  ['md-isolate --userns=r', 'md-isolate --userns=range '],
  ['md-run --pull m', 'md-run --pull missing '],
  ['md-pull --off', 'md-pull --offline '],
  ['md-isolate roo', 'md-isolate rootfs/'],
  ['md-run --layer roo', 'md-run --layer rootfs/'],
  ['md-isolate --seccomp no', 'md-isolate --seccomp notes '],
  ['md-run al', 'md-run alpine '],
  ['md-run -it gh', 'md-run -it ghcr.io/me/tool:1 '],
  ['md-prune alpine b', 'md-prune alpine busybox:1.36 '],
  ['md-pull alpine r', 'md-pull alpine rootfs/'],
];

test('bash completes flags, their values, directories and the images of the store', {
  skip: needs('bash'),
}, async (t) => {
  const { work, MD_HOME } = workplace(t);
  const env = { MD_HOME, TERM: 'dumb', INPUTRC: '/dev/null', PS1: 'shell> ' };
  const terminal = await shellAt(t, { argv: ['bash', '--norc', '-i'], columns: 200, env });
  await terminal.run(`. ${bashFile}; cd ${work}; echo rea""dy`, 'ready');
  await terminal.see('shell> ');
  const more: typeof typed = [
    ...typed,
    ['md-unpack --pro', 'md-unpack --progress '],
    // Both words of a variable are the value of -e, and so alpine is the image.
    ["md-run -ite 'A=b c' al", "md-run -ite 'A=b c' alpine "],
    ['md-run docker.io/library/alpine:l', 'md-run docker.io/library/alpine:latest '],
    ['A=1 md-token alpine | md-fetch-layer --j', 'md-fetch-layer --jobs '],
    ['md-token oci:roo', 'md-token oci:rootfs/'],
    ['md-run --net=\t', /host +none/],
    ['md-run \t', /alpine +busybox:1\.36 +ghcr\.io\/me\/tool:1\s/],
    // What follows DIR is not for md-isolate.
    ['md-isolate rootfs --userns ra\t;', /md-isolate rootfs --userns ra\W*;/],
  ];
  for (const [line, result] of more) {
    terminal.type(`${line}\t`);
    await terminal.see(result);
    // The line is taken back.
    terminal.type('\x15');
  }
});

test('zsh completes the same', { skip: needs('zsh') }, async (t) => {
  const { work, MD_HOME } = workplace(t);
  const terminal = await shellAt(t, { argv: ['zsh', '-f', '-i'], columns: 200, env: { MD_HOME, TERM: 'dumb' } });
  const functions = join(share, 'zsh/site-functions');
  await terminal.run(
    `cd ${work}; fpath=(${functions} $fpath); autoload compinit; compinit -u -D; echo rea""dy`,
    'ready',
  );
  await terminal.see('shell> ');
  for (const [line, result] of typed) {
    terminal.type(`${line}\t`);
    await terminal.see(result);
    terminal.type('\x15');
  }
});

test('fish completes the same', { skip: needs('fish') }, async (t) => {
  const { work, MD_HOME } = workplace(t);
  const offered = async (line: string) => {
    const file = join(share, 'fish/vendor_completions.d', `${line.split(' ')[0]}.fish`);
    const { stdout, stderr } = await run(
      ['fish', '--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', file, line],
      {
        cwd: work,
        env: { MD_HOME },
      },
    );
    assert.equal(stderr, '');
    return stdout
      .trim()
      .split('\n')
      .map((found) => found.split('\t')[0]);
  };
  const more: typeof typed = [
    ...typed,
    ["md-run -ite 'A=b c' al", 'md-run alpine '],
    ['md-run -e A=1 --ne', 'md-run --network '],
    ['md-run --rm=true --ne', 'md-run --network '],
    ['md-run alpine no', 'md-run alpine notes '],
  ];
  for (const [line, result] of more) {
    const found = await offered(line);
    assert.ok(found.includes(String(result).trim().split(' ').at(-1)!), `${line}: ${found}`);
  }
  // What follows DIR is not for md-isolate, nor is it another DIR.
  for (const line of ['md-isolate rootfs --userns ra', 'md-isolate -e A=1 rootfs ls --user', 'md-run -it alpine ls al'])
    assert.deepEqual(await offered(line), [''], line);
});
