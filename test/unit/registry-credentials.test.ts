import assert from 'node:assert/strict';
import type { ExecFileOptions } from 'node:child_process';
import fs, { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { passwordLogin as login } from '../../lib/registry/auth/auth.js';
import { credentialFiles, findCredentials } from '../../lib/registry/auth/credentials.js';
import { spreadMocks } from '../support/mocks.js';
import { afterwards, scratch, setEnv } from '../support/run.js';

const basic = (user: string, password: string) => ({ auth: Buffer.from(`${user}:${password}`).toString('base64') });

function home(t: TestContext, files: Record<string, unknown>): NodeJS.ProcessEnv {
  const directory = scratch(t);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return { HOME: directory, XDG_RUNTIME_DIR: join(directory, 'none') };
}

const docker = '.docker/config.json';

/** The credentials for a repository of a.io, with this for docker's configuration. */
const find = (t: TestContext, config: unknown) => findCredentials('a.io', 'x', home(t, { [docker]: config }));

/** Puts a credential helper on PATH for the time of the test. */
function helper(t: TestContext, name: string, script: string): void {
  const directory = scratch(t);
  const path = join(directory, `docker-credential-${name}`);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  setEnv(t, 'PATH', `${directory}:${process.env.PATH}`);
}

/** What was written to stderr meanwhile. */
async function stderrOf(t: TestContext, work: () => Promise<unknown>): Promise<string> {
  let text = '';
  t.mock.method(fs, 'writeSync', (_fd: number, chunk: string) => {
    text += chunk;
    return chunk.length;
  });
  const end = spreadMocks(t);
  await work();
  end();
  return text;
}

test('no file, no credentials', async () => {
  assert.equal(
    await findCredentials('ghcr.io', 'a/b', { HOME: '/nonexistent', XDG_RUNTIME_DIR: '/nonexistent' }),
    undefined,
  );
});

test("docker's login is sent as it is, in whatever encoding the password may be", async (t) => {
  const auth = Buffer.from('me:gr\xfc\xdfe', 'latin1').toString('base64');
  const env = home(t, { [docker]: { auths: { 'ghcr.io': { auth } } } });
  assert.deepEqual(await findCredentials('ghcr.io', 'a/b', env), { kind: 'password', basic: auth });
});

test("docker's login is found, with colons in the password and NULs behind it", async (t) => {
  const env = home(t, { [docker]: { auths: { 'ghcr.io': basic('me', 'a:b:c\0\0') } } });
  assert.deepEqual(await findCredentials('ghcr.io', 'a/b', env), login('me', 'a:b:c'));
  assert.equal(await findCredentials('quay.io', 'a/b', env), undefined);
});

for (const key of ['https://index.docker.io/v1/', 'docker.io', 'index.docker.io', 'registry-1.docker.io']) {
  test(`Docker Hub's login is found under ${key}`, async (t) => {
    const env = home(t, { [docker]: { auths: { [key]: basic('me', 'x') } } });
    assert.deepEqual(await findCredentials('docker.io', 'library/alpine', env), login('me', 'x'));
  });
}

for (const [registry, current, old] of [
  ['a.io', 'a.io', 'https://a.io/v1/'],
  ['docker.io', 'https://index.docker.io/v1/', 'index.docker.io'],
  ['docker.io', 'docker.io', 'registry-1.docker.io'],
] as const) {
  test(`of a login under ${current} and one under ${old} the former counts, in either order`, async (t) => {
    for (const keys of [
      [current, old],
      [old, current],
    ]) {
      const auths = Object.fromEntries(keys.map((key) => [key, basic(key === current ? 'current' : 'old', 'x')]));
      const env = home(t, { [docker]: { auths } });
      assert.deepEqual(await findCredentials(registry, 'library/x', env), login('current', 'x'));
    }
  });
}

for (const key of ['http://a.io', 'https://a.io/v1/', 'https://a.io/v2', 'https://a.io/api/v1/']) {
  test(`a login under ${key} is for all of the host, as to docker`, async (t) => {
    const env = home(t, { [docker]: { auths: { [key]: basic('me', 'x') } } });
    assert.deepEqual(await findCredentials('a.io', 'team/app', env), login('me', 'x'));
    assert.equal(await findCredentials('b.io', 'a.io/app', env), undefined);
  });
}

test('the longest prefix of the repository wins, and only whole names count', async (t) => {
  const auths = {
    'quay.io': basic('host', 'x'),
    'quay.io/team': basic('team', 'x'),
    'quay.io/team/app': basic('app', 'x'),
  };
  const env = home(t, { [docker]: { auths } });
  const user = async (repository: string) => {
    const found = await findCredentials('quay.io', repository, env);
    return found?.kind === 'password' && Buffer.from(found.basic, 'base64').toString().replace(/:.*/, '');
  };
  assert.equal(await user('team/app'), 'app');
  assert.equal(await user('team/other'), 'team');
  assert.equal(await user('teamx/app'), 'host');
  assert.equal(await user('team/app/sub'), 'app');
});

test('a port belongs to the name of a registry', async (t) => {
  const env = home(t, { [docker]: { auths: { 'host:5000': basic('me', 'x') } } });
  assert.equal(await findCredentials('host', 'a', env), undefined);
  assert.equal(await findCredentials('host:5001', 'a', env), undefined);
  assert.deepEqual(await findCredentials('host:5000', 'a', env), login('me', 'x'));
});

test('an identity token and a registry token are told from a password', async (t) => {
  const env = home(t, {
    [docker]: {
      auths: { 'a.io': { ...basic('me', ''), identitytoken: 'refresh' }, 'b.io': { registrytoken: 'bearer' } },
    },
  });
  assert.deepEqual(await findCredentials('a.io', 'x', env), { kind: 'refresh', username: 'me', token: 'refresh' });
  assert.deepEqual(await findCredentials('b.io', 'x', env), { kind: 'bearer', token: 'bearer' });
});

test('files are asked in order: what the environment names, podman, docker', async (t) => {
  const env = home(t, {
    'given.json': { auths: { 'a.io': basic('given', 'x') } },
    'run/containers/auth.json': { auths: { 'a.io': basic('podman', 'x'), 'b.io': basic('podman', 'x') } },
    '.config/containers/auth.json': { auths: { 'b.io': basic('old', 'x'), 'c.io': basic('old', 'x') } },
    [docker]: { auths: { 'c.io': basic('docker', 'x'), 'd.io': basic('docker', 'x') } },
  });
  const all = { ...env, REGISTRY_AUTH_FILE: join(env.HOME!, 'given.json'), XDG_RUNTIME_DIR: join(env.HOME!, 'run') };
  for (const [registry, user] of [
    ['a.io', 'given'],
    ['b.io', 'podman'],
    ['c.io', 'old'],
    ['d.io', 'docker'],
  ] as const)
    assert.deepEqual(await findCredentials(registry, 'x', all), login(user, 'x'));
  assert.deepEqual(credentialFiles({ HOME: '/h', DOCKER_CONFIG: '/d' })[0], '/d/config.json');
});

test('a file that the environment names and that is not there is told of', async (t) => {
  const env = home(t, { [docker]: { auths: { 'a.io': basic('docker', 'x') } } });
  const absent = join(env.HOME!, '.config/containers/auth.json');
  const shown = await stderrOf(t, async () =>
    assert.deepEqual(await findCredentials('a.io', 'x', { ...env, REGISTRY_AUTH_FILE: absent }), login('docker', 'x')),
  );
  assert.equal(shown.split(`${absent}: no such file or directory (ENOENT); going on without\n`).length, 2, shown);
});

test("podman's login for a part of a registry comes before docker's for all of it", async (t) => {
  const env = home(t, {
    [docker]: { auths: { 'quay.io': basic('docker', 'x') } },
    '.config/containers/auth.json': { auths: { 'quay.io/team': basic('team', 'x') } },
  });
  assert.deepEqual(await findCredentials('quay.io', 'team/app', env), login('team', 'x'));
  assert.deepEqual(await findCredentials('quay.io', 'other/app', env), login('docker', 'x'));
});

test('a login in DOCKER_AUTH_CONFIG comes first, and what is not JSON there is not shown', async (t) => {
  const env = home(t, { [docker]: { auths: { 'a.io': basic('file', 'x'), 'b.io': basic('file', 'x') } } });
  const set = (text: string) => findCredentials('a.io', 'x', { ...env, DOCKER_AUTH_CONFIG: text });
  const own = JSON.stringify({ auths: { 'a.io': basic('own', 'x') } });
  assert.deepEqual(await set(own), login('own', 'x'));
  assert.deepEqual(await findCredentials('b.io', 'x', { ...env, DOCKER_AUTH_CONFIG: own }), login('file', 'x'));
  const shown = await stderrOf(t, async () => assert.deepEqual(await set('{"c2VjcmV0'), login('file', 'x')));
  assert.match(shown, /^md: DOCKER_AUTH_CONFIG: it is not a JSON object; going on without\n$/);
});

test("podman's logins are found without XDG_RUNTIME_DIR as well", () => {
  const [uid, home] = [process.getuid!(), '/h'];
  assert.ok(credentialFiles({ HOME: home }).includes(`/run/containers/${uid}/auth.json`));
  const files = credentialFiles({ HOME: home, XDG_RUNTIME_DIR: '/run/user/1' });
  assert.ok(files.includes('/run/user/1/containers/auth.json'));
  assert.ok(!files.includes(`/run/containers/${uid}/auth.json`));
});

test('a relative XDG_CONFIG_HOME or XDG_RUNTIME_DIR counts as none: anybody may have put a login in the current directory', () => {
  const absent = credentialFiles({ HOME: '/h' });
  assert.deepEqual(credentialFiles({ HOME: '/h', XDG_CONFIG_HOME: 'relative' }), absent);
  assert.deepEqual(credentialFiles({ HOME: '/h', XDG_RUNTIME_DIR: './relative' }), absent);
  assert.ok(credentialFiles({ HOME: '/h', XDG_CONFIG_HOME: '/c' }).includes('/c/containers/auth.json'));
});

test('a credential helper is asked for the registry, before the file', async (t) => {
  helper(
    t,
    'test',
    'read server; echo "{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"$1\\",\\"Secret\\":\\"$server\\"}"',
  );
  const env = home(t, { [docker]: { credsStore: 'test', auths: { 'a.io': basic('file', 'x') } } });
  assert.deepEqual(await findCredentials('a.io', 'x', env), login('get', 'a.io'));
  assert.deepEqual(await findCredentials('docker.io', 'library/x', env), login('get', 'https://index.docker.io/v1/'));
});

test('a helper for one registry goes before the store for all', async (t) => {
  helper(t, 'own', 'echo \'{"Username":"<token>","Secret":"refresh"}\'');
  assert.deepEqual(await find(t, { credsStore: 'nonexistent-store', credHelpers: { 'a.io': 'own' } }), {
    kind: 'refresh',
    username: '',
    token: 'refresh',
  });
});

test('a helper that has nothing says so without a warning', async (t) => {
  helper(t, 'empty', 'echo "credentials not found in native keychain"; exit 1');
  assert.deepEqual(await find(t, { credsStore: 'empty', auths: { 'a.io': basic('file', 'x') } }), login('file', 'x'));
});

test('a helper that answers with nothing has no login', async (t) => {
  helper(t, 'blank', 'echo \'{"ServerURL":"","Username":"","Secret":""}\'');
  assert.deepEqual(await find(t, { credsStore: 'blank', auths: { 'a.io': basic('file', 'x') } }), login('file', 'x'));
});

test('a helper is asked as docker asks it, without a line break', async (t) => {
  helper(t, 'exact', 'test "$(cat; echo .)" = a.io. && echo \'{"Username":"me","Secret":"x"}\'');
  assert.deepEqual(await find(t, { credsStore: 'exact' }), login('me', 'x'));
});

test('a helper with a path for a name is not run', async (t) => {
  const shown = await stderrOf(t, async () => assert.equal(await find(t, { credsStore: 'x/../../bin/sh' }), undefined));
  assert.match(
    shown,
    /credential helper "x\/\.\.\/\.\.\/bin\/sh": that is not the name of a program; going on without/,
  );
});

test('a helper that never answers is ended, though it ignores SIGTERM', { timeout: 60_000 }, async (t) => {
  helper(t, 'deaf', "trap '' TERM; exec sleep 100");
  const processes = process.getBuiltinModule('node:child_process');
  const { execFile } = processes;
  const sooner = ((program: string, args: string[], options: ExecFileOptions, done: () => void) =>
    execFile(program, args, { ...options, timeout: 300 }, done)) as typeof execFile;
  t.mock.method(processes, 'execFile', sooner);
  const shown = await stderrOf(t, async () => assert.equal(await find(t, { credsStore: 'deaf' }), undefined));
  assert.match(shown, /docker-credential-deaf: it gave no answer in 60 s; going on without/);
});

for (const [what, script, expected] of [
  ['an answer', 'echo \'{"Username":"me","Secret":"x"}\'', login('me', 'x')],
  ['none', 'echo "credentials not found in native keychain"; exit 1', undefined],
] as const) {
  test(`a helper that leaves a child with its stdout and ${what} is not waited for`, { timeout: 60_000 }, async (t) => {
    const pid = join(scratch(t), 'pid');
    helper(t, 'agent', `sleep 300 & echo $! >${pid}; ${script}`);
    afterwards(t, () => process.kill(Number(readFileSync(pid, 'utf8'))));
    const shown = await stderrOf(t, async () => assert.deepEqual(await find(t, { credsStore: 'agent' }), expected));
    assert.equal(shown, '');
  });
}

for (const [what, script, why] of [
  ['says why on stdout', 'echo "the session has expired"; exit 1', /: it failed: the session has expired; going on/],
  ['says nothing', 'exit 1', /: it failed; going on/],
  ['says too much', 'head -c 2000000 /dev/zero | tr "\\0" x', /: it failed: x{200}; going on/],
  ['has answered all the same', 'echo \'{"Username":"me","Secret":"c2VjcmV0"}\'; exit 1', /: it failed; going on/],
] as const) {
  test(`a helper that fails and ${what} is told of with what it said, and no secret`, async (t) => {
    helper(t, 'broken', script);
    const shown = await stderrOf(t, async () => assert.equal(await find(t, { credsStore: 'broken' }), undefined));
    assert.match(shown, why);
    assert.doesNotMatch(shown, /c2VjcmV0/);
  });
}

for (const [what, content] of [
  ['an entry without a login in it', { auths: { 'a.io': {} } }],
  ['an entry that Go writes as null', { auths: { 'a.io': null } }],
  ['an empty file', '\n'],
] as const) {
  test(`${what} is no mistake: a helper may have the login`, async (t) => {
    const shown = await stderrOf(t, async () => assert.equal(await find(t, content), undefined));
    assert.equal(shown, '');
  });
}

for (const [what, content] of [
  ['a login that is no base64', { auths: { 'a.io': { auth: 'c2VjcmV0:%%' } } }],
  ['a login without a user', { auths: { 'a.io': { auth: 'c2VjcmV0' } } }],
  ['a helper that is not installed', { credsStore: 'md-no-such-helper' }],
  ['a helper of the wrong type', { credsStore: 42 }],
  ['a file that is not JSON', '{"auths":{"a.io":{"auth":"c2VjcmV0'],
  ['a file that is no object', '[]'],
  ['a text in place of an entry', { auths: { 'a.io': 'c2VjcmV0' } }],
  ['a text in place of all entries', { auths: 'c2VjcmV0' }],
  ['an entry with a NUL', { auths: { 'a.io': { username: 'me', password: 'c2VjcmV0\0' } } }],
  ['a registry token that could forge a header', { auths: { 'a.io': { registrytoken: 'c2VjcmV0\r\nX-Evil: 1' } } }],
  ['an entry of the wrong type', { auths: { 'a.io': { auth: { secret: 'c2VjcmV0' } } } }],
] as const) {
  test(`${what} does not stop a public pull, nor does its warning tell secrets`, async (t) => {
    const shown = await stderrOf(t, async () => assert.equal(await find(t, content), undefined));
    assert.match(shown, /going on without/);
    assert.doesNotMatch(shown, /c2VjcmV0/);
  });
}
