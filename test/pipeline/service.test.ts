/** A container as a unit of systemd, by the lines that README.md shows. As root, where systemd is process 1. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { demoImage } from '../support/demo-image.js';
import { put } from '../support/image.js';
import { heldPort } from '../support/ports.js';
import { childrenOf } from '../support/processes.js';
import { registryFor } from '../support/registry.js';
import { needsContainer, until } from '../support/rootfs.js';
import { afterwards, binDir, md, root, run, scratch } from '../support/run.js';

const skip = needsContainer || (!existsSync('/run/systemd/system') && 'systemd does not run here');

test('the unit of README.md serves, has its limit, and ends well by systemctl stop', { skip }, async (t) => {
  const port = await heldPort(t);
  const { name, ended, systemctl } = await service(t, `httpd -f -p 127.0.0.1:${port}`);
  await systemctl('start');
  await until(() =>
    fetch(`http://127.0.0.1:${port}/`).then(
      ({ status }) => status === 404,
      () => false,
    ),
  );
  const [pid] = childrenOf(Number(await systemctl('show', '-P', 'MainPID')));
  const [, cgroup] = /^0::(\/system\.slice\/.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8')) ?? [];
  assert.ok(cgroup?.startsWith(`/system.slice/${name}/`), cgroup);
  assert.equal(readFileSync(`/sys/fs/cgroup${cgroup}/memory.max`, 'utf8'), '67108864\n');
  await systemctl('stop');
  assert.equal(readFileSync(ended, 'utf8'), 'success exited 143\n');
  assert.equal(await systemctl('show', '-P', 'ActiveState'), 'inactive');
});

test('systemd is process 1 of a container by the line of README.md, and runs a unit in a cgroup of its own', {
  skip,
}, async (t) => {
  const directory = scratch(t);
  const unit = join(directory, 'done.service');
  writeFileSync(
    unit,
    `[Unit]
    DefaultDependencies=no
    SuccessAction=exit-force
    SuccessActionExitStatus=7
    [Service]
    Type=oneshot
    ExecStart=/bin/sh -c 'cat /proc/self/cgroup >/tmp/out/cgroup'\n`,
  );
  const line = '--security-opt writable-cgroups=true -e container=oci --tmpfs /run --tmpfs /run/lock --tmpfs /tmp:exec';
  assert.ok(readFileSync(join(root, 'README.md'), 'utf8').includes(`\`${line}\``));
  const volumes = ['-v', `${unit}:/etc/systemd/system/done.service`, '-v', `${directory}:/tmp/out`];
  const argv = ['--overlay', ...line.split(' '), ...volumes, '/', '/sbin/init', '--unit=done.service'];
  const { status, stderr } = await md('md-isolate', argv);
  assert.equal(status, 7, stderr);
  assert.equal(readFileSync(join(directory, 'cgroup'), 'utf8'), '0::/system.slice/done.service\n');
});

/** The unit in README.md, for a store and a program of the test. `ended` will be a file that says how it ended. */
async function service(t: TestContext, program: string) {
  const directory = scratch(t);
  const registry = await registryFor(t);
  const { index } = await demoImage(join(directory, 'stage'));
  await put(registry, 'busybox', ['latest'], index);
  const image = registry.image('busybox');
  const home = join(directory, 'home');
  const pulled = await md('md-pull', [image], { env: { MD_HOME: home } });
  assert.equal(pulled.status, 0, pulled.stderr);

  const [, shown = ''] = /^```ini\n(.*?)^```$/ms.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? [];
  const line = '/usr/local/bin/md-run --init --memory 64m busybox httpd -f';
  assert.ok(shown.includes(`ExecStart=${line}\n`), shown);
  const command = `${binDir}/md-run --init --memory 64m ${image} ${program}`;
  const name = `md-test-${process.pid}.service`;
  const path = `/run/systemd/system/${name}`;
  const systemctl = async (verb: string, ...words: string[]) => {
    const { status, stdout, stderr } = await run(['systemctl', verb, ...words, name]);
    assert.equal(status, 0, stderr);
    return stdout.trim();
  };
  afterwards(t, async () => {
    await run(['systemctl', 'stop', name]);
    rmSync(path);
    await run(['systemctl', 'daemon-reload']);
  });
  const ended = join(directory, 'ended');
  // systemd forgets an inactive unit with all that it knew of it.
  const stopPost = `/bin/sh -c 'echo $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS >${ended}'`;
  const node = `${dirname(process.execPath)}:/usr/bin:/bin`;
  const own = `Environment=MD_HOME=${home} PATH=${node}\nExecStopPost=${stopPost}\n`;
  writeFileSync(path, `${shown.replace(line, command)}${own}`);
  await run(['systemctl', 'daemon-reload']);
  return { name, ended, systemctl };
}
