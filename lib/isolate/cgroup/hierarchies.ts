/** Where this machine has its cgroups, and which controllers are in which hierarchy: cgroups(7). Read only. */
import { decodeMountPath } from '../../sys/procfs/mountinfo.js';

/** A mounted hierarchy, and the cgroup in it that this process is in. */
export interface Hierarchy {
  version: 1 | 2;
  /** Where it is mounted. */
  mount: string;
  /** The directory of this process's own cgroup; undefined when it is outside of what is mounted. */
  own: string | undefined;
}

export interface CgroupHost {
  /** The hierarchy of a controller (memory, cpu, pids, cpuset), or undefined when the machine has none. */
  find(controller: string): Hierarchy | undefined;
  /** The type and options with which mount(8) would mount it; undefined where that is no reason that there is none. */
  unmounted(controller: string): string | undefined;
}

/**
 * Parses the texts of /proc/self/mountinfo (proc_pid_mountinfo(5)) and /proc/self/cgroup (cgroups(7)). `v2Controllers`
 * reads the file `cgroup.controllers` at the mount point of v2.
 */
export function cgroupHost(
  mountinfo: string,
  ownCgroups: string,
  v2Controllers: (mount: string) => readonly string[],
): CgroupHost {
  const mounts = mountinfo.split('\n').flatMap(cgroupMount);
  const own = ownCgroups.split('\n').flatMap(ownCgroup);

  const hierarchy = (mount: Mount, controller: string | undefined): Hierarchy => {
    const mine = own.find(({ controllers }) =>
      controller === undefined ? controllers.length === 0 : controllers.includes(controller),
    );
    return { version: mount.version, mount: mount.point, own: mine && below(mount, mine.path) };
  };

  return {
    find(controller) {
      const v1 = mounts.find(({ version, options }) => version === 1 && options.includes(controller));
      if (v1) return hierarchy(v1, controller);
      const v2 = mounts.find(({ version, point }) => version === 2 && v2Controllers(point).includes(controller));
      return v2 && hierarchy(v2, undefined);
    },
    unmounted(controller) {
      const v1 = own.find(({ controllers }) => controllers.includes(controller));
      if (v1) return `cgroup -o ${v1.controllers.join(',')}`;
      return mounts.some(({ version }) => version === 2) ? undefined : 'cgroup2';
    },
  };
}

interface Mount {
  version: 1 | 2;
  point: string;
  /** The cgroup that is seen at the mount point. */
  root: string;
  options: string[];
}

/** `36 35 0:30 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu` */
function cgroupMount(line: string): Mount[] {
  const [before = '', after = ''] = line.split(' - ');
  const [, , , root = '', point = ''] = before.split(' ');
  const [type, , options = ''] = after.split(' ');
  if (type !== 'cgroup' && type !== 'cgroup2') return [];
  return [
    {
      version: type === 'cgroup2' ? 2 : 1,
      point: decodeMountPath(point),
      root: decodeMountPath(root),
      options: options.split(','),
    },
  ];
}

/** `4:memory:/user.slice`, and for v2 `0::/user.slice`. */
function ownCgroup(line: string): { controllers: string[]; path: string }[] {
  const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
  if (controllers === undefined || path === undefined) return [];
  return [{ controllers: controllers === '' ? [] : controllers.split(','), path }];
}

function below({ point, root }: Mount, path: string): string | undefined {
  if (root === '/') return path.startsWith('/..') ? undefined : `${point}${path === '/' ? '' : path}`;
  if (path === root) return point;
  return path.startsWith(`${root}/`) ? `${point}${path.slice(root.length)}` : undefined;
}
