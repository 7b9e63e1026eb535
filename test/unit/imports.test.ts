/** The rules on who may import what: they keep the modules apart and the start of each command fast. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { root } from '../support/run.js';

interface Import {
  /** The file that imports, relative to the checkout: `lib/pipe/flags.ts`. */
  from: string;
  /** A file of the project, as a path relative to the checkout, or the name of a package. */
  to: string;
}

/** Folders of `lib` and the folders that each may import from, for types as well. */
const mayImport: Record<string, string[]> = {
  'lib/base': [],
  'lib/sys': ['lib/base'],
  'lib/pipe': ['lib/base', 'lib/sys'],
  'lib/tar': ['lib/base'],
  'lib/compress': ['lib/base', 'lib/sys'],
  'lib/registry': ['lib/base', 'lib/pipe', 'lib/sys'],
  'lib/image': ['lib/base', 'lib/compress', 'lib/pipe', 'lib/sys', 'lib/tar'],
  'lib/unpack': ['lib/base', 'lib/compress', 'lib/pipe', 'lib/sys', 'lib/tar'],
  'lib/pull': ['lib/base', 'lib/image', 'lib/pipe', 'lib/registry', 'lib/unpack'],
  'lib/isolate': ['lib/base', 'lib/pipe', 'lib/sys'],
};

/**
 * Likewise the folders inside of these. The files above them may import from all. Those of
 * `lib/isolate` stand in the order in which a container comes about.
 */
const mayImportInside: Record<string, Record<string, string[]>> = {
  'lib/sys': {
    ffi: [],
    syscalls: ['ffi'],
    libraries: ['ffi'],
    procfs: [],
    files: ['syscalls', 'procfs'],
    'native-code': ['ffi', 'syscalls'],
    refusals: ['syscalls', 'procfs', 'native-code'],
    process: ['ffi', 'procfs', 'syscalls', 'refusals'],
    'user-namespace': ['syscalls', 'procfs', 'refusals'],
  },
  'lib/registry': {
    names: [],
    undici: [],
    transport: ['names'],
    http: ['names', 'transport'],
    auth: ['names', 'transport', 'http'],
    download: ['transport', 'http'],
  },
  'lib/image': {
    manifest: [],
    store: ['manifest'],
    local: ['manifest', 'store'],
  },
  'lib/isolate': {
    settings: [],
    child: ['settings'],
    filesystem: ['settings', 'child'],
    user: ['settings', 'child', 'filesystem'],
    stdio: ['settings', 'child', 'filesystem'],
    seccomp: ['settings', 'child'],
    cgroup: ['settings'],
    plan: ['settings', 'child', 'filesystem', 'user', 'stdio', 'seccomp'],
    supervisor: ['settings', 'child', 'filesystem', 'stdio', 'seccomp', 'cgroup', 'plan'],
  },
  'lib/unpack': {
    tree: [],
    layers: ['tree'],
    place: ['tree'],
    verify: ['tree'],
  },
};

/** The runtime dependencies and the one folder that each is used in, or in those below it. */
const packages: Record<string, string> = {
  undici: 'lib/registry',
  tar: 'lib/tar',
  koffi: 'lib/sys/ffi',
  mri: 'lib/pipe',
};

/** The packages that each command loads at every start, and those that it loads only when it meets the need. */
const loaded: Record<string, { atStart: string[]; later: string[] }> = {
  'md-token': { atStart: ['mri'], later: ['koffi', 'undici'] },
  'md-manifest': { atStart: ['mri'], later: ['koffi', 'undici'] },
  'md-fetch-layer': { atStart: ['mri'], later: ['koffi', 'undici'] },
  'md-unpack': { atStart: ['koffi', 'mri', 'tar'], later: [] },
  'md-isolate': { atStart: ['koffi', 'mri'], later: [] },
  'md-prune': { atStart: ['koffi', 'mri'], later: [] },
};

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.c?ts$/.test(name) && !name.endsWith('.d.ts'))
    .map((name) => join(folder, name));
}

const statement = /^(?:import|export)\s+(?:[^'";]*?\s*from\s+)?'([^']+)'/gm;

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
  const found: Import[] = [];
  for (const [, specifier = ''] of text.matchAll(statement)) {
    found.push({ from: file, to: target(file, specifier) });
  }
  for (const [, specifier = ''] of text.matchAll(/\b(?:import|require)\('([^']+)'\)/g)) {
    found.push({ from: file, to: target(file, specifier) });
  }
  return found;
}

function target(file: string, specifier: string): string {
  if (specifier.startsWith('.')) return join(dirname(file), specifier).replace(/\.(c?)js$/, '.$1ts');
  return specifier.startsWith('@') ? specifier : specifier.split('/')[0]!;
}

/** `lib/pipe/flags.ts` is in `lib/pipe`. */
function folderOf(file: string): string {
  return file.split('/').slice(0, 2).join('/');
}

const product = [...sources('lib'), ...sources('cmd')].flatMap(importsOf);
const isOwn = ({ to }: Import) => to.includes('/') && !to.startsWith('@') && !to.startsWith('node:');
const show = ({ from, to }: Import) => `${from} imports ${to}`;

test('a folder of lib imports from the folders below it only', () => {
  const wrong = product.filter(isOwn).filter(({ from, to }) => {
    if (!from.startsWith('lib/') || folderOf(to) === folderOf(from)) return false;
    return to !== 'package.json' && !mayImport[folderOf(from)]?.includes(folderOf(to));
  });
  assert.deepEqual(wrong.map(show), []);
});

test('every folder of lib has a rule', () => {
  const folders = new Set(sources('lib').map(folderOf));
  assert.deepEqual(
    [...folders].filter((folder) => !(folder in mayImport)),
    [],
  );
});

for (const [above, rules] of Object.entries(mayImportInside)) {
  test(`a folder of ${above} imports from those of its rule only, and each has one`, () => {
    const inside = (file: string) => file.slice(above.length + 1).split('/', 1)[0]!;
    const within = sources(above).filter((file) => file.split('/').length > 3);
    const wrong = within.flatMap(importsOf).filter(({ from, to }) => {
      if (!to.startsWith(`${above}/`) || inside(to) === inside(from)) return false;
      return !rules[inside(from)]?.includes(inside(to));
    });
    assert.deepEqual(wrong.map(show), []);
    assert.deepEqual([...new Set(within.map(inside))].sort(), Object.keys(rules).sort());
  });
}

test('each rule names folders only that stand before its own, so that no two import from each other', () => {
  const wrong = [mayImport, ...Object.values(mayImportInside)].flatMap((rules) => {
    const folders = Object.keys(rules);
    return folders.filter((folder, at) => rules[folder]!.some((other) => !folders.slice(0, at).includes(other)));
  });
  assert.deepEqual(wrong, []);
});

test('lib and cmd import nothing from test, and lib nothing from cmd', () => {
  const wrong = product.filter(
    ({ from, to }) => to.startsWith('test/') || (from.startsWith('lib/') && to.startsWith('cmd/')),
  );
  assert.deepEqual(wrong.map(show), []);
});

test('each runtime dependency is imported in its one folder, and nothing else is imported', () => {
  const builtins = new Set(builtinModules);
  const wrong = product.filter((it) => {
    if (isOwn(it) || it.to === 'package.json' || it.to.startsWith('node:')) return false;
    const folder = packages[it.to.startsWith('@koromix/') ? 'koffi' : it.to];
    return builtins.has(it.to) || folder === undefined || !it.from.startsWith(`${folder}/`);
  });
  assert.deepEqual(wrong.map(show), []);
});

test('the runtime dependencies are these four', () => {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object };
  assert.deepEqual(Object.keys(dependencies).sort(), Object.keys(packages).sort());
});

test('a command is thin: it imports from lib and from Node only', () => {
  const wrong = sources('cmd')
    .flatMap(importsOf)
    .filter(({ to }) => !to.startsWith('lib/') && !to.startsWith('node:'));
  assert.deepEqual(wrong.map(show), []);
});

test('no file of the project imports itself in a circle, for a type either', () => {
  const edges = new Map<string, string[]>();
  for (const { from, to } of product) edges.set(from, [...(edges.get(from) ?? []), to]);
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: string[]) => {
    if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' > '));
    if (path.includes(file) || done.has(file)) return;
    for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of edges.keys()) visit(file, []);
  assert.deepEqual(circles, []);
});

test('a module of Node that is loaded late comes by getBuiltinModule, since the bundles cannot import()', () => {
  const late = product.filter(({ from, to }) => {
    const text = readFileSync(join(root, from), 'utf8');
    return to.startsWith('node:') && text.includes(`import('${to}')`);
  });
  assert.deepEqual(late.map(show), []);
});

test('lib and cmd have neither import.meta nor await outside a function, which the bundles cannot hold', () => {
  const wrong = [...sources('lib'), ...sources('cmd')].filter((file) =>
    /\bimport\.meta\b|^(?:const .* = )?await\b/m.test(readFileSync(join(root, file), 'utf8')),
  );
  assert.deepEqual(wrong, []);
});

/** What esbuild says of its work: each file of the bundles, and what that file imports. */
interface Metafile {
  inputs: Record<string, { imports: { path: string; kind: string; external?: boolean }[] }>;
}

const { inputs } = JSON.parse(readFileSync(join(root, 'dist/bundles.json'), 'utf8')) as Metafile;

/** The runtime dependencies that a bundle reaches, with or without its dynamic imports. */
function reached(entry: string, dynamic: boolean): string[] {
  const seen = new Set([entry]);
  for (const file of seen) {
    for (const { path, kind, external } of inputs[file]?.imports ?? []) {
      if (!external && (dynamic || kind !== 'dynamic-import')) seen.add(path);
    }
  }
  const names = [...seen].map((file) => (file.includes('koffi-addon') ? 'koffi' : packageOf(file)));
  return [...new Set(names)].filter((name) => name in packages).sort();
}

function packageOf(file: string): string {
  return /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? '';
}

for (const [command, { atStart, later }] of Object.entries(loaded)) {
  test(`${command} loads the packages that it needs and holds no other`, () => {
    assert.deepEqual(reached(`cmd/${command}.ts`, false), atStart);
    assert.deepEqual(reached(`cmd/${command}.ts`, true), [...atStart, ...later].sort());
  });
}
