/**
 * Ids inside the values of extended attributes. The kernel reads them as ids of this process's user namespace. For an
 * id that is not mapped there it gives EINVAL, as for a value that makes no sense: this file tells the two apart.
 * Sources: linux/posix_acl_xattr.h, linux/capability.h, user_namespaces(7).
 */
import { ownMap } from '../../sys/procfs/own-id-map.js';
import { isMapped } from '../../sys/user-namespace/id-maps.js';
import type { ByteString } from '../../tar/bytes.js';

interface NamedId {
  kind: 'uid' | 'gid';
  id: number;
}

/** The kernel's "no id": the same in every namespace. */
const noId = 0xffffffff;

/** Whether an attribute names a user or a group that the user namespace of this process does not have. */
export function hasForeignId(name: ByteString, value: Buffer): boolean {
  return idsIn(name, value).some(({ kind, id }) => id !== noId && !isMapped(ownMap(kind), id));
}

function idsIn(name: ByteString, value: Buffer): NamedId[] {
  if (name.startsWith('system.posix_acl_')) return idsOfAcl(value);
  return name === 'security.capability' ? rootOf(value) : [];
}

/**
 * A version (4 bytes); then for each entry a tag (2), permissions (2) and an id (4). Only named users and groups have
 * an id.
 */
function idsOfAcl(value: Buffer): NamedId[] {
  const ids: NamedId[] = [];
  for (let at = 4; at + 8 <= value.length; at += 8) {
    const kind = kindOfTag[value.readUInt16LE(at)];
    if (kind) ids.push({ kind, id: value.readUInt32LE(at + 4) });
  }
  return ids;
}

const kindOfTag: Record<number, NamedId['kind']> = { 2: 'uid', 8: 'gid' };

/** Version 3 ends with a user id: the root of the namespace in which the capabilities are valid. */
function rootOf(value: Buffer): NamedId[] {
  return value.length === 24 && value[3] === 3 ? [{ kind: 'uid', id: value.readUInt32LE(20) }] : [];
}
