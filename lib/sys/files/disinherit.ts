/** Taking away what a new directory has from the one around it. */
import { fchmod, fchown, fremovexattr } from '../syscalls/calls.js';

/**
 * Makes a new directory the caller's alone: without the group and the set-group-ID bit of the one around it, and without
 * its default ACL. All that is made below would have these as well. Throws `SyscallError`. Sources: inode(7), acl(5).
 */
export function disinherit(fd: number): void {
  fchown(fd, process.geteuid!(), process.getegid!());
  for (const acl of ['system.posix_acl_default', 'system.posix_acl_access']) fremovexattr.try(fd, acl);
  // The last: an ACL would make something else of the bits for the group.
  fchmod(fd, 0o700);
}
