/** Certificates, and what goes without TLS. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startProxy } from '../support/proxy.js';
import { repository, succeeded, world } from '../support/pull.js';
import { registryFor } from '../support/registry.js';
import { needs, scratch } from '../support/run.js';
import { makeCa } from '../support/tls.js';

const noOpenssl = needs('openssl');

test('a registry with a private CA needs --ca-file, in the first stage only', { skip: noOpenssl }, async (t) => {
  const ca = makeCa(scratch(t));
  const { run, registry } = await world(t, { auth: 'token', redirectBlobs: 307, tls: ca.issue() });
  assert.match(registry.origin.registry, /^https/);
  const script = `md-token --ca-file ${ca.caFile} "$1" | md-manifest | md-fetch-layer`;
  succeeded(await run(script));
  // Node warns of this one and goes on.
  succeeded(await run(script, { NODE_EXTRA_CA_CERTS: '/nonexistent' }));
});

test("a registry whose CA is among the system's needs no flag", { skip: noOpenssl }, async (t) => {
  const ca = makeCa(scratch(t));
  const { run } = await world(t, { auth: 'token', redirectBlobs: 307, tls: ca.issue() });
  // /dev/null says that loopback speaks TLS, and adds nothing.
  const script = 'md-token --ca-file /dev/null "$1" | md-manifest | md-fetch-layer';
  succeeded(await run(script, { SSL_CERT_FILE: ca.caFile }));
  assert.equal((await run(script, { SSL_CERT_FILE: '/nonexistent' })).status, 69);
});

test('a certificate that nobody vouches for is refused, unless --insecure names the registry', {
  skip: noOpenssl,
}, async (t) => {
  const [ca, other] = [makeCa(scratch(t)), makeCa(scratch(t))];
  const { run, registry } = await world(t, { tls: ca.issue() });
  const refused = await run(`md-token --ca-file ${other.caFile} "$1"`);
  assert.equal(refused.status, 69);
  assert.match(refused.stderr, /TLS: .*--ca-file FILE/);
  succeeded(await run(`md-token --insecure ${registry.host} "$1" | md-manifest | md-fetch-layer`));
  const named = await run(`md-token --insecure other.example --ca-file ${other.caFile} "$1"`);
  assert.equal(named.status, 69);
});

for (const [what, names, days, why] of [
  ['of another host', ['other.example'], 2, /TLS: Hostname\/IP does not match certificate's altnames: .*[^E]$/m],
  ['that is out of date', ['127.0.0.1'], 0, /TLS: certificate has expired; is the clock of this machine right\?$/m],
] as const) {
  test(`a certificate ${what} is called that, and no CA is asked for`, { skip: noOpenssl }, async (t) => {
    const ca = makeCa(scratch(t));
    const { run } = await world(t, { tls: ca.issue([...names], days) });
    const { status, stderr } = await run(`md-token --ca-file ${ca.caFile} "$1"`);
    assert.match(stderr, why);
    assert.equal(status, 69);
    assert.doesNotMatch(stderr, /--ca-file/);
  });
}

test('a CA file without a certificate is not passed over', async (t) => {
  const { run } = await world(t);
  const { status, stderr } = await run('md-token --ca-file /etc/passwd "$1"');
  assert.match(stderr, /^md-token: CA file \/etc\/passwd: it has no certificate in PEM; /);
  assert.equal(status, 65);
});

test('a redirect from https to http is refused', { skip: noOpenssl }, async (t) => {
  const ca = makeCa(scratch(t));
  const { run, registry } = await world(t, { redirectBlobs: 307, plainCdn: true, tls: ca.issue() });
  const result = await run(`md-token --ca-file ${ca.caFile} "$1" | md-manifest | md-fetch-layer`);
  assert.equal(result.status, 76);
  assert.match(result.stderr, /from https to plain http .*, which is refused/);
  assert.doesNotMatch(result.stderr, /signature=[^*]/);
  assert.equal(registry.lines('cdn').length, 0);
});

test('a token service without TLS is refused to a registry with it', { skip: noOpenssl }, async (t) => {
  const ca = makeCa(scratch(t));
  const plain = await registryFor(t, { auth: 'token' });
  const challenge = () => `Bearer realm="${plain.origin.token}/token",service="x"`;
  const { run } = await world(t, { auth: 'token', challenge, tls: ca.issue() });
  const result = await run(`md-token --ca-file ${ca.caFile} "$1"`);
  assert.equal(result.status, 76);
  assert.match(result.stderr, /names a token service without TLS .*, which is refused/);
  assert.deepEqual(plain.requests, []);
});

test('--plain-http is for the registry that it names', async (t) => {
  const { run, registry } = await world(t);
  const name = registry.host.replace('127.0.0.1', '0.0.0.0');
  const script = (flags: string) => `md-token ${flags} ${name}/${repository} | md-manifest | md-fetch-layer`;
  succeeded(await run(script(`--plain-http ${name}`)));
  const result = await run(script('--plain-http other.example --retries 0'));
  assert.equal(result.status, 69);
  assert.match(result.stderr, new RegExp(`it does not speak TLS; .* --plain-http ${name}\n|connection`));
});

test('a registry is the one that a flag names, in capitals and other forms as well', async (t) => {
  const { run, registry } = await world(t);
  const name = registry.host.replace('127.0.0.1', 'LOCALHOST');
  succeeded(await run(`md-token --ca-file /dev/null --plain-http ${name} ${name}/${repository}`));
  const other = registry.host.replace('127.0.0.1', '127.1');
  succeeded(await run(`md-token --plain-http ${registry.host} ${other}/${repository}`));
  const { url, asked } = await startProxy(t, registry);
  const flags = `--plain-http docker.io --allow-private ${new URL(registry.origin.token).host}`;
  succeeded(await run(`md-token ${flags} alpine`, { http_proxy: url }));
  assert.deepEqual(asked, ['GET http://registry-1.docker.io/v2/']);
});
