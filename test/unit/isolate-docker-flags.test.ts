/** The flags of `docker run`: each is known, or the message says what to do instead. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { insteadOf } from '../../lib/isolate/settings/docker-flags.js';
import { isolateFlags } from '../../lib/isolate/settings/flags.js';

/** What `docker run --help` of version 28.5 lists, without what is for Windows, and without --pull, which md-run has. */
const dockerFlags = `
  add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile
  cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems detach detach-keys
  device device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops
  disable-content-trust dns dns-option dns-search domainname entrypoint env env-file expose gpus group-add
  health-cmd health-interval health-retries health-start-interval health-start-period health-timeout hostname
  init interactive ip ip6 ipc isolation kernel-memory label label-file link link-local-ip log-driver log-opt
  mac-address memory memory-reservation memory-swap memory-swappiness mount name network network-alias
  no-healthcheck oom-kill-disable oom-score-adj pid pids-limit platform privileged publish publish-all quiet
  read-only restart rm runtime security-opt shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs
  tty ulimit use-api-socket user userns uts volume volume-driver volumes-from workdir
`;

test('for each flag of docker run that there is not, there is a hint', () => {
  const names = dockerFlags.trim().split(/\s+/);
  assert.deepEqual(
    names.filter((name) => !Object.hasOwn(isolateFlags, name) && insteadOf(name) === undefined),
    [],
  );
});
