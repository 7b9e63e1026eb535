/** The capabilities with which root makes a container. */
import type { Capability } from '../../sys/syscalls/constants.js';

/** What every one takes without a user namespace: docker takes no more than SYS_ADMIN away, unless it is told to. */
export const powers: readonly Capability[] = ['SYS_ADMIN', 'SETPCAP', 'SETGID'];

/** What it takes besides for a network of its own: lo has to be brought up. */
export const networkPowers: readonly Capability[] = ['NET_ADMIN'];

/** And for another user than root. In a user namespace this has to be there as well, for more than one id. */
export const userPowers: readonly Capability[] = ['SETUID'];
