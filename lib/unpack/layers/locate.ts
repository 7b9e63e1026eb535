/**
 * Where an entry goes, by its name alone. Unpacking and listing refuse what cannot be made on any disk in the same
 * words.
 */
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { type ByteString, cleanPath, shown, splitPath } from '../../tar/bytes.js';
import { type Entry, isDevice } from '../../tar/entry.js';
import { maxPathBytes } from '../tree/entry-failure.js';
import { aufsLinks, parseWhiteout, type Whiteout } from './whiteouts.js';

/** An entry, and where it goes. */
export interface Located {
  entry: Entry;
  /** Clean; and its two parts, the directory and the name in it. */
  path: ByteString;
  above: ByteString;
  name: ByteString;
  /** What it means for the layers below; undefined for an entry like any other. */
  whiteout: Whiteout | undefined;
  /** It is no part of the image, but hard links may name it: see `aufsLinks`. */
  isOnlyLinked: boolean;
}

/** Throws `Failure` 65 for an entry that cannot be made. */
export function locate(entry: Entry): Located {
  const path = cleanPath(entry.path);
  checkLength(path);
  const [above, name] = splitPath(path);
  const whiteout = parseWhiteout(above, name);
  if (!whiteout) checkEntry(entry, path);
  return { entry, path, above, name, whiteout, isOnlyLinked: above === aufsLinks && entry.type === 'file' };
}

/** Throws `Failure` 65 for a name that the kernel does not take. */
function checkLength(path: ByteString): void {
  if (path.length <= maxPathBytes) return;
  throw new Failure(Status.data, shown(path.slice(0, 60)), 'the name is longer than the kernel takes');
}

function checkEntry({ type, path: name, target, major, minor }: Entry, path: ByteString): void {
  if (path === '' && type !== 'directory')
    throw new Failure(Status.data, 'root of the tree', `the layer makes it a ${type}`);
  if (type === 'symlink' && target === '') throw new Failure(Status.data, shown(name), 'a symlink to nothing');
  if (type === 'symlink') checkLength(target);
  if (type === 'hardlink') checkLength(cleanPath(target));
  // makedev(3)
  if (isDevice(type) && (major < 0 || minor < 0 || major > 0xfff || minor > 0xfffff))
    throw new Failure(Status.data, shown(name), `device numbers ${major}, ${minor} are out of range`);
}
