/** The capabilities with which root makes a container. */
import type { Capability } from '../../sys/syscalls/constants.js';

/** For every container without a user namespace. In a container of docker only SYS_ADMIN is missing, as a rule. */
export const neededCapabilities: readonly Capability[] = ['SYS_ADMIN', 'SETPCAP', 'SETGID'];

/** Besides, for a network of its own: lo has to be brought up. */
export const networkCapabilities: readonly Capability[] = ['NET_ADMIN'];

/** Besides, for another user than root, and for a user namespace with more than one id. */
export const userCapabilities: readonly Capability[] = ['SETUID'];
