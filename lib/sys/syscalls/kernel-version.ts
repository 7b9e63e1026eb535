/** Versions of Linux, as uname(2) has them. */

/** The first two numbers of a release such as `6.12.1-amd64`; undefined for what is none. */
export function kernelVersion(text: string): [major: number, minor: number] | undefined {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(text) ?? [];
  return major === undefined ? undefined : [Number(major), Number(minor)];
}

export function isAtLeast(kernel: string, minimum: string): boolean {
  const [major = 0, minor = 0] = kernelVersion(kernel) ?? [];
  const [wantMajor = 0, wantMinor = 0] = kernelVersion(minimum) ?? [];
  return major > wantMajor || (major === wantMajor && minor >= wantMinor);
}
