/**
 * The number of a device as mknod(2) takes and stat(2) gives it: 12 bits of major, 20 bits of minor. See makedev(3).
 */
export function deviceNumber(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
