/** Entries that cannot be made on any disk. Unpacking and listing refuse them in the same words. */
import { Failure } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import { type ByteString, cleanPath, shown } from './bytes.js';
import type { Entry } from './tar.js';

/** PATH_MAX with its NUL: limits.h. */
const maxPathBytes = 4095;

/** Throws `Failure` 65 for a name that the kernel does not take. */
export function checkLength(path: ByteString): void {
  if (path.length <= maxPathBytes) return;
  throw new Failure(Status.data, shown(path.slice(0, 60)), 'the name is longer than the kernel takes');
}

/** Throws `Failure` 65 for an entry that cannot be made. It is no whiteout, and `path` its clean path. */
export function checkEntry({ type, path: name, target, major, minor }: Entry, path: ByteString): void {
  if (path === '' && type !== 'directory')
    throw new Failure(Status.data, 'root of the tree', `the layer makes it a ${type}`);
  if (type === 'symlink' && target === '') throw new Failure(Status.data, shown(name), 'a symlink to nothing');
  if (type === 'symlink') checkLength(target);
  if (type === 'hardlink') checkLength(cleanPath(target));
  // makedev(3)
  const isDevice = type === 'char' || type === 'block';
  if (isDevice && (major < 0 || minor < 0 || major > 0xfff || minor > 0xfffff))
    throw new Failure(Status.data, shown(name), `device numbers ${major}, ${minor} are out of range`);
}
