/**
 * Platforms: what this machine is, what `--platform` means, and which entry of an index fits.
 * Sources: image-spec, image-index.md, "Platform Variants"; the names and fall-backs that docker and containerd accept.
 */
import { Failure } from '../../base/failure.js';
import { goArch, type IndexEntry, type Platform } from '../../base/oci.js';
import { Status } from '../../base/status.js';
import type { Flag } from '../../pipe/flags.js';

const goNames = new Map([
  ...Object.entries(goArch),
  ['x86_64', 'amd64'],
  ['x86-64', 'amd64'],
  ['aarch64', 'arm64'],
  ['ia32', '386'],
  ['i386', '386'],
  ['i686', '386'],
]);
const armNames = new Map([
  ['armhf', 'v7'],
  ['armel', 'v6'],
]);

/** Go's architectures that images are built for. Each may stand alone for its platform on Linux. */
const architectures = new Set(
  '386 amd64 arm arm64 loong64 mips64 mips64le mips mipsle ppc64 ppc64le riscv64 s390x wasm'.split(' '),
);

/** The platform that is looked for. */
export interface Choice {
  /** Normalized. */
  wanted: Platform;
  /** The user named it: an image for another one is refused, even if it is the only one. */
  strict: boolean;
}

export const platformFlag = {
  kind: 'string',
  value: 'OS/ARCH[/VARIANT]',
  help: "the platform to choose, or its ARCH alone; this machine's by default",
} as const satisfies Flag;

/** What `--platform` asks for. Throws `Failure` 64. */
export function choosePlatform(flag: string | undefined): Choice {
  return flag === undefined ? { wanted: hostPlatform(), strict: false } : { wanted: parsePlatform(flag), strict: true };
}

/** The platform of this machine. */
export function hostPlatform(arch: string = process.arch): Platform {
  return normalize({ os: 'linux', architecture: arch });
}

/** `os/arch[/variant]`, or an architecture alone, which is one of Linux as with docker; throws `Failure` 64. */
export function parsePlatform(text: string): Platform {
  const alone = normalize({ os: 'linux', architecture: text });
  if (architectures.has(alone.architecture)) return alone;
  const [os = '', architecture = '', variant, ...rest] = text.split('/');
  const word = /^[A-Za-z0-9_.-]+$/;
  if (rest.length > 0 || ![os, architecture, variant ?? 'none'].every((part) => word.test(part))) {
    throw new Failure(Status.usage, `platform ${JSON.stringify(text)}`, 'it is neither OS/ARCH[/VARIANT] nor an ARCH', {
      hint: 'for example linux/amd64, linux/arm/v7 or arm64',
    });
  }
  return normalize({ os, architecture, variant });
}

/** The lowest level of a processor, which images leave out as a rule. */
const lowest = new Map([
  ['amd64', 'v1'],
  ['ppc64le', 'power8'],
  ['riscv64', 'rva20u64'],
]);

/**
 * Go's name for the architecture, and the default variant where none is given: v8 for arm64, v7 for arm. The lowest
 * level of other processors is dropped.
 */
export function normalize({ os, architecture, variant }: Platform): Platform {
  const lower = architecture.toLowerCase();
  const arch = armNames.has(lower) ? 'arm' : (goNames.get(lower) ?? lower);
  const given = variant?.toLowerCase().replace(/^(?=[0-9])/, 'v');
  const level = (arch === 'arm64' ? given?.replace(/\.0$/, '') : given) || armNames.get(lower) || defaultVariant(arch);
  const base = { os: os.toLowerCase(), architecture: arch };
  return level === undefined || level === lowest.get(arch) ? base : { ...base, variant: level };
}

function defaultVariant(arch: string): string | undefined {
  if (arch === 'arm64') return 'v8';
  return arch === 'arm' ? 'v7' : undefined;
}

/**
 * The variants that run on `wanted`, the best one first: each level runs what was built for a lower one. undefined
 * stands for no variant.
 */
function variantsFor({ architecture, variant }: Platform): (string | undefined)[] {
  const [, kind = '', level, minor] = /^(v|power|rva)([0-9]{1,2})(?:\.([0-9])|u64)?$/.exec(variant ?? '') ?? [];
  const from = Number(level);
  switch (`${architecture} ${kind}`) {
    case 'amd64 v':
      return [...levels('v', from, 2), undefined];
    case 'arm v':
      return levels('v', from, 5);
    case 'arm64 v':
      return from === 8 || from === 9 ? armLevels(from, Number(minor ?? 0)) : [variant];
    case 'ppc64le power':
      return [...levels('power', from, 9), undefined];
    case 'riscv64 rva':
      return [...levels('rva', from, 21).map((profile) => `${profile}u64`), undefined];
    default:
      return [variant];
  }
}

/** v9.N of arm64 is v8.(N+5) and more. Source: Go's documentation, "Minimum requirements", GOARM64. */
function armLevels(major: 8 | 9, minor: number): string[] {
  if (major === 9) return [...levels('v9.', minor, 1), 'v9', ...armLevels(8, minor + 5)];
  return [...levels('v8.', minor, 1), 'v8'];
}

function levels(kind: string, from: number, to: number): string[] {
  return Array.from({ length: Math.max(0, from - to + 1) }, (_, i) => `${kind}${from - i}`);
}

/**
 * Platforms of 32 bits that this processor, or most of its kind, can run as well. docker takes an image for one of
 * these when there is no other and no platform was named. Source: github.com/containerd/platforms, `Only`.
 */
export function narrower({ os, architecture }: Platform): Platform[] {
  if (architecture === 'amd64') return [{ os, architecture: '386' }];
  return architecture === 'arm64' ? [{ os, architecture: 'arm', variant: 'v8' }] : [];
}

/** How well something built for `offered` runs on `wanted`: 0 is best, undefined is not at all. */
export function fitness(wanted: Platform, offered: Platform): number | undefined {
  const it = normalize(offered);
  if (it.os !== wanted.os || it.architecture !== wanted.architecture) return undefined;
  const rank = variantsFor(wanted).indexOf(it.variant);
  return rank < 0 ? undefined : rank;
}

/** The entry whose platform fits best; among equals the first. */
export function bestOf(entries: readonly IndexEntry[], wanted: Platform): IndexEntry | undefined {
  let best: { entry: IndexEntry; rank: number } | undefined;
  for (const entry of entries) {
    const rank = entry.platform && fitness(wanted, entry.platform);
    if (rank !== undefined && (!best || rank < best.rank)) best = { entry, rank };
  }
  return best?.entry;
}
