/**
 * What a container gets of its caller through Node, and gives back: descriptors, signals, limits, words, streams, the
 * status. As root. `make test-nodes` runs this on other releases of Node, and of the rest what shows that there is a
 * container.
 */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, copyFileSync, mkdirSync, readlinkSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { describeRoot, inside, makeRoot, needsContainer, output } from '../support/rootfs.js';
import { binDir, cleanEnv, md, needs, needsRoot, run, scratch, shell } from '../support/run.js';
import { describeTree } from '../support/tree.js';

const skip = needsContainer;

test('the command is process 1 and sees no other process', { skip }, async (t) => {
  const root = makeRoot(t);
  assert.equal(await output(root, 'echo $$; cat /proc/1/comm; echo /proc/[0-9]*'), '1\nsh\n/proc/1');
});

test('every namespace but the network and the user is its own', { skip }, async (t) => {
  const root = makeRoot(t);
  const names = ['mnt', 'pid', 'uts', 'ipc', 'cgroup', 'net', 'user'];
  const there = (await output(root, names.map((name) => `readlink /proc/self/ns/${name}`).join(';'))).split('\n');
  const here = names.map((name) => readlinkSync(`/proc/self/ns/${name}`));
  assert.deepEqual(
    names.filter((_, i) => there[i] === here[i]),
    ['net', 'user'],
  );
});

test("the command has docker's fourteen capabilities and no more", { skip }, async (t) => {
  const root = makeRoot(t);
  assert.deepEqual((await output(root, 'grep Cap /proc/self/status')).split('\n'), [
    'CapInh:\t0000000000000000',
    'CapPrm:\t00000000a80425fb',
    'CapEff:\t00000000a80425fb',
    'CapBnd:\t00000000a80425fb',
    'CapAmb:\t0000000000000000',
  ]);
});

test('no file descriptor but 0, 1 and 2 reaches the command (CVE-2024-21626)', { skip }, async (t) => {
  const root = makeRoot(t);
  const line = 'exec 7</etc/passwd 8</ 9>/dev/null; exec md-isolate "$1" ls /proc/self/fd';
  const { stdout } = await shell(line, [root]);
  // ls itself opens the directory as 3.
  assert.equal(stdout, '0\n1\n2\n3\n');
});

test('signals are neither blocked, nor ignored, nor caught, whatever Node and its caller made of them', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  // Node itself undoes what a caller did to the signals below 32.
  const line = 'trap "" USR1 40; exec md-isolate "$1" grep -E "Sig(Blk|Ign|Cgt)" /proc/self/status';
  const { stdout } = await shell(line, [root]);
  assert.deepEqual(stdout.match(/[0-9a-f]{16}/g), Array(3).fill('0000000000000000'));
});

test('the soft limit of open files is that of the caller, not the one that Node raised', { skip }, async (t) => {
  const root = makeRoot(t);
  const { stdout } = await shell('ulimit -Sn 321; md-isolate "$1" sh -c "ulimit -Sn; ulimit -Hn"; ulimit -Hn', [root]);
  const [soft, hard, callers] = stdout.trim().split('\n');
  assert.deepEqual([soft, hard], ['321', callers]);
});

test('the soft limit of open files may be lower than that of the parent, as in a unit of systemd', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const line = '(ulimit -Sn 321; exec md-isolate -e MD_OPEN_FILES "$1" sh -c "ulimit -Sn; env"); ulimit -Sn';
  const { stdout } = await shell(line, [root]);
  assert.match(stdout, /^321\n/);
  assert.doesNotMatch(stdout, /MD_OPEN_FILES|\n321\n/);
});

test('the soft limit of open files is read where no process more is allowed', {
  skip: needsRoot || needs('setpriv'),
}, async (t) => {
  const directory = scratch(t);
  chmodSync(directory, 0o755);
  copyFileSync(join(binDir, 'md-isolate'), join(directory, 'md-isolate'));
  writeFileSync(join(directory, 'node'), '#!/bin/sh\necho "$MD_OPEN_FILES"\n', { mode: 0o755 });
  const user = ['setpriv', '--reuid=12345', '--regid=12345', '--clear-groups'];
  const line = 'ulimit -u 0; ulimit -Sn 321; exec ./md-isolate';
  const env = { ...cleanEnv(), PATH: `${directory}:${process.env.PATH}` };
  const { stdout } = await run([...user, 'sh', '-c', line], { cwd: directory, env });
  assert.match(stdout, /^Max open files +321 /);
});

test('the status is that of the command, and 128 + n for a signal', { skip }, async (t) => {
  const root = makeRoot(t);
  assert.equal((await inside(root, 'exit 7')).status, 7);
  assert.equal((await inside(root, 'exit 255')).status, 255);
  assert.equal((await inside(root, 'sh -c "kill -TERM \\$\\$"; exit $?')).status, 143);
});

test('a current directory that was removed stands in the way of relative paths only', { skip }, async (t) => {
  const root = makeRoot(t);
  const there = async (...args: string[]) =>
    shell('mkdir "$1/gone" && cd "$1/gone" && rmdir ../gone && shift && exec md-isolate "$@"', [`${root}/..`, ...args]);
  assert.equal((await there(root, 'pwd')).stdout, '/\n');
  assert.match(
    (await there('root', 'true')).stderr,
    /^md-isolate: the current directory: no such file .*removed: cd to/m,
  );
  assert.match((await there('-v', './a:/a', root, 'true')).stderr, /^md-isolate: --volume .*: \.\/a: no such file/m);
});

for (const signal of ['TERM', 'PWR']) {
  test(`SIG${signal} reaches the command, and its handler decides the status`, { skip }, async (t) => {
    const root = makeRoot(t);
    const script = `trap "echo caught; exit 9" ${signal}; echo ready; while :; do sleep 0.05; done`;
    const line =
      'md-isolate "$1" sh -c "$2" > "$3" & p=$!; while ! grep -q ready "$3"; do sleep 0.05; done; kill -$4 $p; wait $p; echo $?; cat "$3"';
    const { stdout } = await shell(line, [root, script, join(root, '../out'), signal]);
    assert.equal(stdout, '9\nready\ncaught\n');
  });
}

test('the host sees nothing of the mounts: before, during, after', { skip: skip || needs('unshare') }, async (t) => {
  const root = makeRoot(t);
  // In a namespace that no mount of another process of this machine comes to.
  const script = `cd "$1/.." && cp /proc/self/mountinfo before || exit
    md-isolate "$1" sh -c 'touch /tmp/up; while [ -e /tmp/up ]; do sleep 0.05; done' &
    while ! [ -e "$1/tmp/up" ]; do sleep 0.05; done
    cp /proc/self/mountinfo during; rm "$1/tmp/up"; wait $!; echo $?; cp /proc/self/mountinfo after
    diff before during && diff before after`;
  const { stdout, status } = await run(['unshare', '-m', '--propagation', 'private', 'sh', '-c', script, 'sh', root]);
  assert.deepEqual([stdout, status], ['0\n', 0]);
});

test('/dev has the devices that every program expects, and they work', { skip }, async (t) => {
  const root = makeRoot(t);
  const names = 'fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero';
  assert.equal(await output(root, 'echo $(ls /dev)'), names);
  const script = 'for d in null zero full random urandom tty; do stat -c "%n %t:%T %a %U" /dev/$d; done';
  assert.deepEqual((await output(root, script)).split('\n'), [
    '/dev/null 1:3 666 root',
    '/dev/zero 1:5 666 root',
    '/dev/full 1:7 666 root',
    '/dev/random 1:8 666 root',
    '/dev/urandom 1:9 666 root',
    '/dev/tty 5:0 666 root',
  ]);
  assert.equal(
    await output(root, 'echo x > /dev/null; head -c 4 /dev/zero | od -An -tx1; head -c 9 /dev/urandom | wc -c'),
    ' 00 00 00 00\n9',
  );
});

test('environment, user, working directory and command come from DIR.json, flags win over them', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  mkdirSync(join(root, 'srv'));
  describeRoot(root, {
    User: 'user',
    Env: ['PATH=/bin', 'COLOR=red', 'SIZE=1'],
    WorkingDir: '/srv',
    Entrypoint: ['sh', '-c', 'echo "$0" $(id -un) $PWD $COLOR $SIZE $HOME'],
    Cmd: ['default'],
  });
  const run = async (...args: string[]) => (await md('md-isolate', args, { env: { GIVEN: 'by the caller' } })).stdout;
  assert.equal(await run(root), 'default user /srv red 1 /home/user\n');
  assert.equal(await run(`${root}/`, 'word'), 'word user /srv red 1 /home/user\n');
  assert.equal(
    await run('-u', 'root', '-w', '/tmp', '-e', 'SIZE=2', '-e', 'COLOR', root),
    'default root /tmp 2 /root\n',
  );
  assert.equal(await run('--entrypoint', 'echo', root), '\n');
  assert.equal(await run('--entrypoint', '', '-e', 'GIVEN', root, 'sh', '-c', 'echo $GIVEN'), 'by the caller\n');
  // Every object of JavaScript knows something of this name.
  assert.equal(await run('--entrypoint', '', '-e', 'toString', root, 'sh', '-c', 'env | grep -c toString'), '0\n');
});

test('words that are no UTF-8 reach the command byte by byte', { skip }, async (t) => {
  const script =
    'md-isolate "$1" printf "%s " "$(printf "caf\\351")" plain "$(printf "\\303\\274\\377")" | od -An -tx1';
  const { stdout } = await shell(script, [makeRoot(t)]);
  assert.equal(
    stdout.trim(),
    Buffer.from('caf\xe9 plain \xc3\xbc\xff ', 'latin1').toString('hex').match(/../g)!.join(' '),
  );
});

test('a program whose name is no UTF-8 is found, by its path and along PATH, and not one that Node takes it for', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  writeFileSync(join(root, 'bin/caf\ufffd'), '#!/bin/sh\necho another', { mode: 0o755 });
  const script = `
    name=$(printf 'caf\\351')
    printf '#!/bin/sh\\necho "$@"' >"$1/bin/$name" && chmod 755 "$1/bin/$name"
    md-isolate "$1" "/bin/$name" by its path; md-isolate "$1" "$name" along PATH`;
  const { stdout, stderr } = await shell(script, [root]);
  assert.deepEqual([stdout, stderr], ['by its path\nalong PATH\n', '']);
});

test('what is not UTF-8 is refused elsewhere: a flag would name another file, a variable have another value', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  // What Node makes of the byte is there, and is meant when it is named itself.
  mkdirSync(join(root, 'tmp/\ufffd'));
  const byte = '$(printf "\\377")';
  for (const [line, what] of [
    [
      `md-isolate -v "$1/tmp/${byte}:/mnt" "$1" true`,
      /^md-isolate: command line: ".*" is not UTF-8; only words of the/,
    ],
    [`md-isolate "$1/tmp/${byte}" true`, /^md-isolate: command line: ".*" is not UTF-8; only words of the/],
    [`A=${byte} md-isolate -e A "$1" true`, /^md-isolate: --env A: its value is not UTF-8\n$/],
    [
      `printf 'A=\\377\\n' >"$1/tmp/variables" && md-isolate --env-file "$1/tmp/variables" "$1" true`,
      /^md-isolate: --env-file .*variables: it is not UTF-8\n$/,
    ],
    // Another variable ends with what Node makes of this one.
    [`A=${byte} B='A=\ufffd' md-isolate -e A "$1" true`, /^md-isolate: --env A: its value is not UTF-8\n$/],
  ] as const) {
    const { status, stderr } = await shell(line, [root]);
    assert.equal(status, 125);
    assert.match(stderr, what);
  }
  const named = 'A=\ufffd md-isolate -e A -v "$1/tmp/\ufffd:/mnt" "$1" sh -c \'echo "$A $0"\' "$(printf "\\303\\251")"';
  assert.equal((await shell(named, [root])).stdout, '\ufffd \xe9\n');
});

test('Node itself takes no word of the command line, and does nothing that a file of variables says', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const base = join(root, '..');
  writeFileSync(join(base, 'intruder.cjs'), "require('fs').writeSync(1, 'code of the file runs outside\\n')");
  writeFileSync(join(base, 'variables'), `A=1\nNODE_OPTIONS=--require ${base}/intruder.cjs\n`);
  const file = join(base, 'variables');
  const { stdout } = await md('md-isolate', ['--env-file', file, root, 'sh', '-c', 'echo $A $NODE_OPTIONS']);
  assert.equal(stdout, `1 --require ${base}/intruder.cjs\n`);
  const words = ['--env-file', '/nosuch', `--env-file=${file}`, `--env-file-if-exists=${file}`];
  assert.equal((await md('md-isolate', [root, 'echo', ...words])).stdout, `${words.join(' ')}\n`);
  const missing = await md('md-isolate', ['--env-file', '/nosuch', root, 'true']);
  assert.equal(missing.status, 125);
  assert.match(missing.stderr, /^md-isolate: --env-file \/nosuch: no such file/);
  writeFileSync(file, 'NAME=\xe9\n', 'latin1');
  const latin1 = await md('md-isolate', ['--env-file', file, root, 'true']);
  assert.deepEqual([latin1.status, latin1.stderr], [125, `md-isolate: --env-file ${file}: it is not UTF-8\n`]);
  writeFileSync(file, '=x\n');
  const nameless = await md('md-isolate', ['--env-file', file, root, 'true']);
  assert.equal(nameless.stderr, `md-isolate: --env-file ${file}: "=x" has no name\n`);
  const environ = await md('md-isolate', ['--env-file', '/proc/self/environ', root, 'true']);
  assert.match(environ.stderr, /^md-isolate: --env-file \/proc\/self\/environ: it has bytes that are 0, /);
  assert.equal(environ.status, 125);
});

test('stdin, stdout and stderr are those of the caller, byte for byte', { skip }, async (t) => {
  const root = makeRoot(t);
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  const { stdout } = await md('md-isolate', [root, 'od', '-An', '-v', '-tu1'], { stdin: bytes });
  assert.deepEqual(stdout.trim().split(/\s+/).map(Number), [...bytes]);
  const line = 'head -c 300000000 /dev/zero | md-isolate "$1" cat | wc -c';
  assert.equal((await shell(line, [root])).stdout, '300000000\n');
});

test('another user opens /dev/stdin, /dev/stdout and /dev/stderr, when they are pipes, and in their direction only', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const script = 'cat < /dev/stdin > /dev/stdout; echo err > /dev/stderr; head -c 1 < /dev/stdout; echo x > /dev/stdin';
  const line = 'echo in | { md-isolate -u user "$1" sh -c "$2" | cat; } 2>&1 | cat';
  const { stdout } = await shell(line, [root, script]);
  assert.match(stdout, /^in$/m);
  assert.match(stdout, /^err$/m);
  assert.equal(stdout.match(/Permission denied/g)?.length, 2);
});

test("root needs no permission for the caller's pipes, whose modes stay as they are", { skip }, async (t) => {
  const line = '{ md-isolate "$1" true; stat -L -c %a /proc/self/fd/1; } | cat';
  assert.equal((await shell(line, [makeRoot(t)])).stdout, '600\n');
});

test('the terminal is for its user alone, whatever the caller has on stdin, and TERM is what was asked for', {
  skip,
}, async (t) => {
  const line =
    'echo | md-isolate -t -u user -e TERM=dumb "$1" sh -c "stat -c %a:%u /dev/pts/0; env | grep TERM=" | cat';
  const { stdout } = await shell(line, [makeRoot(t)]);
  // The terminal shows what is typed as well: an empty line.
  assert.deepEqual(stdout.split(/\s+/).filter(Boolean), ['620:1000', 'TERM=dumb']);
});

test("the caller's files and named pipes stay as they are, whoever the user is", { skip }, async (t) => {
  const root = makeRoot(t);
  const script =
    'cd "$1/.." && umask 077 && : > file && mkfifo fifo && stat -c %a:%u file fifo; cat fifo & ' +
    'md-isolate -u user root sh -c "echo said; echo x > /dev/stdout" > fifo; wait; md-isolate -u user root echo kept > file; ' +
    'stat -c %a:%u file fifo; cat file';
  const { stdout, stderr } = await shell(script, [root]);
  assert.equal(stdout, '600:0\n600:0\nsaid\n600:0\n600:0\nkept\n');
  assert.match(stderr, /Permission denied/);
});

test('a log file of the caller opens as /dev/stdout for any user, and keeps what was in it and the order', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const script = 'echo 1 >/dev/stdout; echo 2 >>/dev/stderr; echo 3; echo 4 >&2; id -u';
  const line = 'cd "$1/.." && echo 0 >log && md-isolate -u user root sh -c "$2" >>log 2>&1; cat log; stat -c %a:%u log';
  assert.equal((await shell(line, [root, script])).stdout, '0\n1\n2\n3\n4\n1000\n644:0\n');
});

test('a terminal opens as /dev/stderr for any user, also where stdin is the same one', {
  skip: skip || needs('script'),
}, async (t) => {
  const root = makeRoot(t);
  const said = 'echo told >/dev/stderr; echo $(id -u) >/dev/stdout; test -p /dev/stderr && echo pipe';
  const line = (flags: string, rest: string) => `md-isolate ${flags} "${root}" sh -c "$SAID" ${rest}`;
  const at = async (flags: string, rest: string) => {
    const atTerminal = ['script', '-qec', line(flags, rest), '/dev/null'];
    return (await run(atTerminal, { env: { SAID: said }, cwd: scratch(t) })).stdout.replaceAll('\r', '');
  };
  assert.equal(await at('-u user', '>log; cat log'), 'told\n1000\npipe\n');
  assert.equal(await at('-u user', '</dev/null'), 'told\n1000\npipe\n');
  // Whoever may open it has the very terminal.
  assert.equal(await at('', '</dev/null'), 'told\n0\n');
});

test('a file that the user may write to stays the very file, for whoever seeks in it', { skip }, async (t) => {
  const root = makeRoot(t);
  const line =
    'cd "$1/.." && for name in own all group; do : >$name; done; chown 1000 own; chmod 666 all; chgrp staff group; chmod 660 group; ' +
    'for name in own all group; do md-isolate -u user root sh -c "test -f /dev/stdout && echo file" >$name; done; ' +
    'md-isolate root sh -c "test -f /dev/stdout && echo of root" >root-file; cat own all group root-file';
  assert.equal((await shell(line, [root])).stdout, 'file\nfile\nfile\nof root\n');
  // What is open for reading takes no output, and the command learns that.
  assert.equal((await shell('md-isolate -u user "$1" sh -c "echo x || exit 3" 1<"$1/etc/passwd"', [root])).status, 3);
});

test('--overlay: the command can change everything, and the tree stays as it was', { skip }, async (t) => {
  // Characters that separate layers and options in the kernel's own notation are part of a name here.
  const root = makeRoot(t);
  const odd = join(root, '../a:b,c\\d');
  renameSync(root, odd);
  chownSync(odd, 0, 50);
  chmodSync(odd, 0o1711);
  const before = describeTree(odd);
  const script =
    'stat -c "%a %u:%g" /; rm -r /etc/passwd /etc/group /bin/vi; mkdir -p /etc/new; echo x > /bin/x; ls /etc; chmod 700 /root';
  assert.equal(await output(odd, script, ['--overlay']), '1711 0:50\nhostname\nhosts\nnew\nresolv.conf');
  assert.deepEqual(describeTree(odd), before);
});

test('a limit on open files that is too low is named, not the image', { skip }, async (t) => {
  const volumes = Array.from({ length: 40 }, (_, i) => `--tmpfs /tmp/${i}`).join(' ');
  const { stderr, status } = await shell(`ulimit -n 100; md-isolate ${volumes} "$1" true`, [makeRoot(t)]);
  assert.match(stderr, /\(EMFILE\); raise the limit: ulimit -n 4096\n$/);
  assert.equal(status, 125);
});
