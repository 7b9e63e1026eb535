/** What is installed works by itself: nothing of the checkout is needed afterwards. */
import assert from 'node:assert/strict';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { binDir, needs, root, run, scratch, shell } from '../support/run.js';

const {
  bin: commands,
  man,
  version,
} = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  bin: Record<string, string>;
  man: string[];
  version: string;
};
const names = Object.keys(commands).sort();
/** What is installed below share. */
const documents = {
  'man/man1': names.map((name) => `${name}.1`),
  'bash-completion/completions': names,
  'zsh/site-functions': ['_md-containers'],
  'fish/vendor_completions.d': names.map((name) => `${name}.fish`),
};

test('npm runs no script of a package when this is built: none is needed', { skip: needs('make') }, async () => {
  const { stdout } = await run(['make', '-n', '-W', 'package.json', 'node_modules/.package-lock.json'], { cwd: root });
  assert.match(stdout, /^npm ci --ignore-scripts /);
});

/** What is built is not to be built again while other tests use it. */
const make = ['make', '-s', '-o', 'dist/.built', '-o', 'build'];

test('make install puts working commands into DIR/bin, and make uninstall takes them away', {
  skip: needs('make'),
}, async (t) => {
  const prefix = join(scratch(t), 'with spaces in it');
  const installed = await run(['sh', '-c', 'umask 077; exec "$@"', '', ...make, 'install', `PREFIX=${prefix}`], {
    cwd: root,
  });
  assert.equal(installed.status, 0, installed.stderr);
  assert.equal(
    (await run(['find', prefix, '!', '-type', 'l', '!', '-perm', '-a=r'])).stdout,
    '',
    'others can read all of it',
  );
  assert.deepEqual(readdirSync(join(prefix, 'bin')).sort(), names);
  for (const name of names) {
    assert.ok(realpathSync(join(prefix, 'bin', name)).startsWith(realpathSync(prefix)), name);
    const { status, stdout, stderr } = await run([join(prefix, 'bin', name), '--version'], { cwd: '/' });
    assert.deepEqual([status, stdout, stderr], [0, `${name} ${version}\n`, '']);
  }
  for (const [place, files] of Object.entries(documents)) {
    assert.deepEqual(readdirSync(join(prefix, 'share', place)).sort(), files, place);
    for (const file of files) assert.notEqual(readFileSync(join(prefix, 'share', place, file), 'utf8'), '');
  }
  // DIR may be a project with a koffi of its own, of another version.
  for (const addon of readdirSync(join(root, 'node_modules/@koromix'), { recursive: true, encoding: 'utf8' })) {
    if (!addon.endsWith('.node')) continue;
    mkdirSync(join(prefix, 'node_modules/@koromix', addon, '..'), { recursive: true });
    writeFileSync(join(prefix, 'node_modules/@koromix', addon), 'another version');
  }
  const plan = await run([join(prefix, 'bin/md-isolate'), '--dry-run', prefix, 'true'], { cwd: '/' });
  assert.equal(plan.status, 0, plan.stderr);
  await run([...make, 'uninstall', `PREFIX=${prefix}`], { cwd: root });
  assert.deepEqual(readdirSync(join(prefix, 'bin')), []);
  for (const place of Object.keys(documents)) assert.deepEqual(readdirSync(join(prefix, 'share', place)), [], place);
});

test('make install takes a relative DESTDIR, and a newer one leaves a command that runs what it has in memory', {
  skip: needs('make'),
}, async (t) => {
  const destination = scratch(t);
  const install = async () => {
    const { status, stderr } = await run(
      [...make, 'install', `DESTDIR=${relative(root, destination)}`, 'PREFIX=/usr'],
      {
        cwd: root,
      },
    );
    assert.deepEqual([status, stderr], [0, '']);
  };
  await install();
  const library = join(destination, 'usr/lib/md');
  const files = readdirSync(library, { recursive: true, encoding: 'utf8' }).filter((it) => /\.(node|js)$/.test(it));
  assert.ok(files.some((it) => it.endsWith('koffi.node')));
  const held = files.map((file) => {
    writeFileSync(join(library, file), 'older');
    return openSync(join(library, file), 'r');
  });
  t.after(() => held.forEach(closeSync));
  // A shared directory may have one of another architecture, which V8 would take for that of the newer release.
  const stale = join(library, 'md-token.other.cache');
  writeFileSync(stale, 'older');
  await install();
  assert.ok(!existsSync(stale));
  for (const [i, fd] of held.entries()) assert.equal(readFileSync(fd, 'latin1'), 'older', files[i]);
  for (const file of files) assert.notEqual(readFileSync(join(library, file), 'latin1'), 'older', file);
});

test('the packed tarball holds every command that package.json names and its man page, and they work', {
  skip: needs('npm', 'tar'),
}, async (t) => {
  const directory = scratch(t);
  const modules = join(directory, 'node_modules');
  mkdirSync(modules);
  const env = { HOME: directory, npm_config_cache: join(directory, 'cache') };
  const packed = await run(['npm', 'pack', '--ignore-scripts', '--pack-destination', directory], { cwd: root, env });
  assert.equal(packed.status, 0, packed.stderr);
  const unpacked = await shell('tar xzf md-containers-*.tgz && mv package node_modules/md-containers', [], {
    cwd: directory,
  });
  assert.equal(unpacked.status, 0, unpacked.stderr);
  for (const name of readdirSync(join(root, 'node_modules')))
    symlinkSync(join(root, 'node_modules', name), join(modules, name));
  for (const name of names) {
    const { status, stdout, stderr } = await run([join(modules, 'md-containers', commands[name]!), '--version'], {
      cwd: '/',
    });
    assert.equal(status, 0, stderr);
    assert.match(stdout, new RegExp(`^${name} `));
  }
  assert.deepEqual(man.map((page) => basename(page)).sort(), documents['man/man1']);
  for (const page of man) assert.match(readFileSync(join(modules, 'md-containers', page), 'utf8'), /^\.TH MD-/);
});

test('md-pull and md-run find the other commands through links to them', async (t) => {
  const directory = scratch(t);
  const elsewhere = join(directory, 'else where');
  mkdirSync(elsewhere);
  const PATH = `${dirname(process.execPath)}:/usr/bin:/bin`;
  // One of them may be there as well: the others are not.
  symlinkSync(join(binDir, 'md-token'), join(elsewhere, 'md-token'));
  for (const name of ['md-pull', 'md-run']) {
    symlinkSync(join(binDir, name), join(directory, name));
    // From a directory that is itself a link, by a name of the user's own.
    symlinkSync(`../${name}`, join(elsewhere, `my-${name}`));
    symlinkSync(elsewhere, join(directory, `way-to-${name}`));
    const path = join(directory, `way-to-${name}`, `my-${name}`);
    for (const argv of [[path], ['sh', path], [`./my-${name}`]]) {
      const { stdout, stderr } = await run([...argv, '--version'], { env: { PATH }, cwd: elsewhere });
      assert.deepEqual([stdout, stderr], [`${name} ${version}\n`, '']);
    }
  }
  const { stderr } = await run([join(elsewhere, 'my-md-run'), '--memroy'], { env: { PATH } });
  assert.match(stderr, /^md-run: --memroy: unknown flag; did you mean --memory\?/);
});

test('md-pull and md-run find the other commands in PATH where a script starts them, and say so where there are none', async (t) => {
  const bin = join(scratch(t), 'bin');
  mkdirSync(bin);
  // As pnpm makes them: a script for each command, and no link.
  for (const [name, path] of Object.entries(commands))
    writeFileSync(join(bin, name), `#!/bin/sh\nexec '${join(root, path)}' "$@"\n`, { mode: 0o755 });
  const PATH = `${dirname(process.execPath)}:/usr/bin:/bin`;
  for (const [name, sister, code] of [
    ['md-pull', 'md-unpack', 70],
    ['md-run', 'md-isolate', 125],
  ] as const) {
    const found = await run([join(bin, name), '--version'], { env: { PATH: `${bin}:${PATH}` } });
    assert.deepEqual([found.stdout, found.stderr], [`${name} ${version}\n`, '']);
    const missing = await run([join(bin, name), 'a'], { env: { PATH } });
    assert.equal(missing.status, code);
    assert.match(missing.stderr, new RegExp(`^${name}: ${sister} is neither beside it nor in PATH; .*\\n$`));
  }
  const rootfs = join(scratch(t), 'home/rootfs/registry.test/a:1');
  mkdirSync(rootfs, { recursive: true });
  const env = { PATH: `${bin}:${PATH}`, MD_HOME: dirname(dirname(dirname(rootfs))) };
  const { stdout, stderr } = await run([join(bin, 'md-run'), '--dry-run', 'registry.test/a:1', 'true'], { env });
  assert.match(stdout, /^\{"step":1,/, stderr);
});

test('a command that lacks a part of its installation says in one line what it lacks', async (t) => {
  const directory = scratch(t);
  for (const [name, code] of [
    ['md-unpack', 70],
    ['md-isolate', 125],
  ] as const) {
    const copy = (part: string) =>
      copyFileSync(join(root, 'dist/bundle', `${name}.${part}`), join(directory, `${name}.${part}`));
    const fails = async (why: string) => {
      const { status, stderr } = await run([join(directory, `${name}.cjs`), 'tree']);
      assert.equal(status, code);
      assert.match(stderr, new RegExp(`^${name}: it cannot start: ${why}; MD_DEBUG=1 shows where\\n$`));
    };
    copy('cjs');
    await fails(`ENOENT: .*${name}.js'`);
    copy('js');
    copy(`${process.arch}.cache`);
    await fails('koffi: Cannot find module .*');
    const debugged = await run([join(directory, `${name}.cjs`), 'tree'], { env: { MD_DEBUG: '1' } });
    assert.match(debugged.stderr, /koffi: Cannot find module (?:.*\n)+? +at /);
  }
});

test('a command starts without what another Node or processor has cached of it', async (t) => {
  const [directory, cache] = [scratch(t), `md-token.${process.arch}.cache`];
  for (const part of ['md-token.cjs', 'md-token.js'])
    copyFileSync(join(root, 'dist/bundle', part), join(directory, part));
  for (const content of [undefined, Buffer.alloc(1000)]) {
    if (content) writeFileSync(join(directory, cache), content);
    const { status, stderr } = await run([join(directory, 'md-token.cjs'), '--version']);
    assert.deepEqual([status, stderr], [0, '']);
  }
});

test('without Node the wrappers say so once, and not once for each stage', async (t) => {
  const env = { PATH: scratch(t), MD_HOME: scratch(t) };
  for (const [name, stage, code] of [
    ['md-pull', 'md-fetch-layer', 70],
    ['md-run', 'md-isolate', 125],
  ] as const) {
    const { status, stderr } = await run(['/bin/sh', join(binDir, name), 'image'], { env });
    assert.match(stderr, new RegExp(`^${stage}: it cannot start: there is no node in PATH; .*\\n$`));
    assert.equal(status, code);
  }
});

test('a command says in one line that there is no Node, or that it is too old', async (t) => {
  const directory = scratch(t);
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { engines: { node: string } };
  const [, of20, later] = /^\^(20\.\d+)\.0 \|\| >=(\d+\.\d+)\.0$/.exec(engines.node)!;
  const pretending = (version: string) => {
    const file = join(directory, `${version}.cjs`);
    const value = `{ ...process.versions, node: '${version}' }`;
    writeFileSync(file, `Object.defineProperty(process, 'versions', { value: ${value} });`);
    return { env: { NODE_OPTIONS: `--require ${file}` } };
  };
  for (const [name, code] of [
    ['md-unpack', 70],
    ['md-isolate', 125],
  ] as const) {
    const command = join(binDir, name);
    // The name of the command counts, and not that of a directory above it.
    const below = join(directory, `md-isolate-${name}`, name);
    mkdirSync(dirname(below));
    symlinkSync(command, below);
    const none = await run(['/bin/sh', below, 'tree'], { env: { PATH: directory } });
    assert.equal(none.status, code);
    assert.equal(
      none.stderr,
      `${name}: it cannot start: there is no node in PATH; under sudo: sudo env "PATH=$PATH" COMMAND\n`,
    );
    for (const version of ['18.20.8', '20.17.9', '21.7.3', '22.2.0']) {
      const { status, stderr } = await run([command, 'tree'], pretending(version));
      assert.equal(status, code);
      const needed = `${of20} or later of 20, or ${later} or later is needed`;
      assert.equal(stderr, `${name}: it cannot start: Node.js ${version} is too old; ${needed}\n`);
    }
    for (const version of [`${of20}.0`, `${later}.0`, '23.0.0'])
      assert.equal((await run([command, '--version'], pretending(version))).status, 0);
  }
});
