/**
 * Inside a container of podman: what README says it takes is enough, and where it is less, the error says what to add.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { podmanRun } from '../support/podman.js';
import { commandPath, commandVolumes, makeRoot, needsContainer } from '../support/rootfs.js';
import { needs, scratch } from '../support/run.js';

const skip = needsContainer || needs('podman');

const cases: [flags: string[], container: string, outcome: RegExp][] = [
  [
    [],
    '',
    /\(EPERM\); .* partly covered, .*: start that one with its paths unmasked \(.*, podman: unmask=ALL,.*\n125$/,
  ],
  [['--cap-add=SYS_ADMIN'], '', /goes without CAP_NET_RAW, CAP_MKNOD, CAP_AUDIT_WRITE, .*\nin\n0$/],
  [['--security-opt=unmask=ALL'], '', /^in\n0$/],
];

for (const [flags, container, outcome] of cases) {
  const name = `md-isolate ${container} inside podman run ${flags.join(' ')}`;
  test(name.replaceAll(/ +/g, ' ').trim(), { skip }, async (t) => {
    const inner = makeRoot(t);
    const volumes = [...commandVolumes, `-v=${inner}:/inner`];
    const script = `${commandPath}; md-isolate ${container} /inner echo in 2>&1; echo $?`;
    // Where there is no AppArmor this means nothing.
    const unconfined = '--security-opt=apparmor=unconfined';
    const { stdout, stderr } = await podmanRun(scratch(t), makeRoot(t), [...volumes, unconfined, ...flags], script);
    assert.match(stdout.trim(), outcome, stderr);
  });
}
