/** /etc/hosts and /etc/resolv.conf of a container, and --security-opt: pure functions of flags. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostsFile, resolverFile } from '../../lib/isolate/filesystem/etc-files.js';
import { type NameFlags, namesOf } from '../../lib/isolate/settings/names.js';
import { securityOf } from '../../lib/isolate/settings/security-opt.js';

function names(flags: Partial<NameFlags>, network: 'host' | 'none' = 'host') {
  return namesOf({ 'add-host': [], dns: [], 'dns-search': [], 'dns-option': [], ...flags }, network);
}

test("--add-host takes docker's forms of an address, and refuses what is none", () => {
  const forms = ['a:192.0.2.1', 'b=192.0.2.2', 'c:2001:db8::1', 'd:[2001:db8::2]', 'e=[::1]', 'f:host-gateway'];
  assert.deepEqual(names({ 'add-host': forms }).hosts, [
    '192.0.2.1\ta',
    '192.0.2.2\tb',
    '2001:db8::1\tc',
    '2001:db8::2\td',
    '::1\te',
    '127.0.0.1\tf',
  ]);
  for (const text of ['a', 'a:', 'a:b', 'a:1.2.3', 'a:1.2.3.4\n5.6.7.8 b', 'a b:1.2.3.4', ':1.2.3.4', 'a:[::1', '']) {
    assert.throws(
      () => names({ 'add-host': [text] }),
      /--add-host .*: (it is not NAME:ADDRESS|.* is not an IP address)/,
      text,
    );
  }
  assert.throws(() => names({ 'add-host': ['a:host-gateway'] }, 'none'), /no way to the host/);
});

test("hosts of the user come behind the host's and the container's own", () => {
  assert.equal(
    hostsFile('127.0.0.1 localhost', 'box', ['192.0.2.1\ta']),
    '127.0.0.1 localhost\n127.0.1.1\tbox\n192.0.2.1\ta\n',
  );
  assert.match(hostsFile('', 'box', []), /^127.0.0.1\tlocalhost\n::1\t.*\n127.0.1.1\tbox\n$/);
});

test('--dns, --dns-search and --dns-option replace the lines of their kind and leave the others', () => {
  const text = '# comment\ndomain old\nnameserver 192.0.2.1\nsearch old\noptions ndots:5\n';
  assert.equal(resolverFile(text, names({})), text);
  assert.equal(
    resolverFile(text, names({ dns: ['192.0.2.7', '::1'] })),
    '# comment\ndomain old\nsearch old\noptions ndots:5\nnameserver 192.0.2.7\nnameserver ::1\n',
  );
  assert.equal(
    resolverFile(text, names({ 'dns-search': ['a.test', 'b.test'], 'dns-option': ['ndots:1'] })),
    '# comment\nnameserver 192.0.2.1\nsearch a.test b.test\noptions ndots:1\n',
  );
  assert.equal(resolverFile('search old\n', names({ 'dns-search': ['.'] })), '');
  assert.equal(resolverFile('search old\noptions ndots:5\n', names({ 'dns-option': [''] })), 'search old\n');
  assert.equal(resolverFile('', names({ 'dns-option': ['', 'rotate'] })), 'options rotate\n');
  assert.throws(() => names({ 'dns-option': ['a b'] }), /--dns-option: "a b" is not one word/);
  assert.throws(() => names({ dns: ['dns.test'] }), /--dns dns.test: "dns.test" is not an IP address/);
  for (const word of ['', 'a\nnameserver 192.0.2.9', 'a b']) {
    assert.throws(() => names({ 'dns-search': [word] }), /--dns-search: .* is not one word/);
  }
});

test('--security-opt means our own flags, and is refused where it means more', () => {
  assert.deepEqual(securityOf(['no-new-privileges', 'seccomp=/profile.json']), {
    noNewPrivileges: true,
    seccomp: '/profile.json',
    apparmor: undefined,
    writableCgroups: false,
  });
  assert.deepEqual(
    securityOf(['no-new-privileges:true', 'seccomp:unconfined', 'label=disable', 'apparmor=unconfined']),
    {
      noNewPrivileges: true,
      seccomp: 'unconfined',
      apparmor: undefined,
      writableCgroups: false,
    },
  );
  for (const [word, meant] of [
    ['false', false],
    ['0', false],
    ['True', true],
    ['1', true],
  ] as const) {
    assert.equal(securityOf([`no-new-privileges=${word}`]).noNewPrivileges, meant);
    assert.equal(securityOf([`writable-cgroups=${word}`]).writableCgroups, meant);
  }
  assert.equal(securityOf(['apparmor=docker-default']).apparmor, 'docker-default');
  assert.equal(securityOf(['apparmor:a b', 'apparmor:unconfined']).apparmor, undefined);
  assert.equal(securityOf(['writable-cgroups=true', 'writable-cgroups=false']).writableCgroups, false);
  const wrong = ['no-new-privileges=maybe', 'no-new-privileges=', 'no-new-privileges=tRuE', 'writable-cgroups'];
  for (const text of ['', ...wrong, 'seccomp', 'apparmor=', 'label=type:x']) {
    assert.throws(() => securityOf([text]), /--security-opt .*it is not offered; no-new-privileges, /, text);
  }
  for (const text of ['systempaths=unconfined', 'unmask=ALL'])
    assert.throws(() => securityOf([text]), /--security-opt .*it is not offered; with --privileged nothing /, text);
  assert.throws(
    () => securityOf(['unmask=/sys/fs/cgroup']),
    /it is not offered; --security-opt writable-cgroups=true /,
  );
});
