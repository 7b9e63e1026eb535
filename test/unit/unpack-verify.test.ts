/** Comparing a tree with an image, where filesystems have ways of their own. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { close, openat } from '../../lib/sys/syscalls/calls.js';
import { AT } from '../../lib/sys/syscalls/constants.js';
import { ENXIO } from '../../lib/sys/syscalls/errno.js';
import { directoryFlags, entriesOf } from '../../lib/unpack/tree/directory.js';
import { isOfFilesystem } from '../../lib/unpack/tree/xattrs.js';
import { compareTree, type Difference } from '../../lib/unpack/verify/compare.js';
import { openFile } from '../../lib/unpack/verify/properties.js';
import { afterwards, scratch } from '../support/run.js';

test("the image's root may have been opened before anything was in it, which on btrfs shows nothing later", (t) => {
  const directory = scratch(t);
  for (const name of ['tree', 'image']) {
    mkdirSync(join(directory, name));
    writeFileSync(join(directory, name, 'f'), 'x');
  }
  const image = openat(AT.FDCWD, join(directory, 'image'), directoryFlags, 0);
  // Its position is at the end then: on any filesystem there is nothing more to read.
  assert.deepEqual(entriesOf(image), ['f']);
  const found: Difference[] = [];
  const compared = { isDescribed: () => false, hasLinkTimes: true, isWanted: () => true, unset: () => undefined };
  compareTree(join(directory, 'tree'), image, compared, (difference) => found.push(difference));
  close(image);
  assert.deepEqual(
    found.filter(({ difference }) => difference !== 'mtime'),
    [],
  );
});

test('an attribute that a filesystem shows of its own accord is not taken for one of the image', () => {
  const names = ['user.a', 'trusted.a', 'security.capability', 'system.posix_acl_default', 'system.posix_acl_access'];
  assert.deepEqual(names.filter(isOfFilesystem), []);
  // NFS, CIFS, btrfs and XFS. The first cannot be removed: EINVAL.
  const own = ['system.nfs4_acl', 'system.cifs_acl', 'btrfs.compression', 'trusted.SGI_ACL_FILE'];
  assert.deepEqual(own.filter(isOfFilesystem), own);
});

test('what a container has put in the place of a file is not opened: a link out of the tree, a FIFO that waits', (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'file'), 'content');
  symlinkSync('file', join(directory, 'link'));
  execFileSync('mkfifo', [join(directory, 'fifo')]);
  const fd = openSync(directory, 'r');
  afterwards(t, () => closeSync(fd));
  for (const name of ['link', 'fifo']) assert.equal(openFile(fd, Buffer.from(name)), -ENXIO, name);
  const file = openFile(fd, Buffer.from('file'));
  assert.equal(readFileSync(file, 'utf8'), 'content');
  closeSync(file);
});
