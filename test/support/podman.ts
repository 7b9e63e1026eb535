/** podman, without what its version in Debian 12 cannot do on a machine of both cgroup versions. */
import { type Result, run } from './run.js';

/**
 * Runs a shell script in a container of podman, without a network. `store` is a directory for what podman needs, `root`
 * the container's root filesystem.
 */
export async function podmanRun(store: string, root: string, flags: string[], script: string): Promise<Result> {
  const line =
    'umount /sys/fs/cgroup/unified 2>/dev/null; exec podman --root "$0/root" --runroot "$0/run" run --rm --network none ' +
    '--cgroups disabled --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "$@"';
  return run(['unshare', '-m', 'sh', '-c', line, store, ...flags, '--rootfs', root, 'sh', '-c', script]);
}
