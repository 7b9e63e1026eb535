/**
 * Why the kernel says of a program that is there that it is not: the interpreter is missing which the program names, in
 * the first line of a script or as the dynamic loader of an ELF file.
 * Source: execve(2), "Interpreter scripts"; elf(5), PT_INTERP.
 */
import { readSync } from 'node:fs';
import { ignoringFailure, ignoringSystemErrors } from '../../base/failure.js';
import { readInside, readInView } from '../filesystem/read-inside.js';
import type { View } from '../filesystem/view.js';
import { inVolume } from '../filesystem/volumes.js';
import type { Volume } from '../settings/volumes.js';

/** The root of a container, with what is mounted over it. */
export interface Inside {
  view: View;
  volumes: readonly Volume[];
}

/** A script may have a script as its interpreter: the kernel goes this far. */
const mostInterpreters = 5;

/**
 * The path that is missing: what the program at a path of the container names, or what its interpreter names. Undefined
 * when the program is not there either, when nothing is missing, and when this process may not look.
 */
export function missingInterpreter(inside: Inside, program: string): string | undefined {
  return ignoringFailure(() => ignoringSystemErrors(() => follow(inside, program)));
}

function follow(inside: Inside, program: string): string | undefined {
  let head = headOf(inside, program);
  for (let depth = 0; head && depth < mostInterpreters; depth++) {
    const interpreter = ofScript(head) ?? ofElf(head);
    if (interpreter === undefined) return undefined;
    head = headOf(inside, interpreter);
    if (head === undefined) return interpreter;
  }
  return undefined;
}

/** Ample: a linker puts the name behind the program headers, which begin at byte 64. */
const headBytes = 4096;

function headOf({ view, volumes }: Inside, path: string): Buffer | undefined {
  const read = (fd: number) => {
    const bytes = Buffer.alloc(headBytes);
    return bytes.subarray(0, readSync(fd, bytes, 0, headBytes, 0));
  };
  const there = inVolume(view, volumes, path);
  return there ? readInside(there.source, there.path, read) : readInView(view, path, read);
}

function ofScript(head: Buffer): string | undefined {
  return /^#![ \t]*([^ \t\n\0]+)/.exec(head.toString('latin1', 0, 256))?.[1];
}

const PT_INTERP = 3;

/** Of a file for the processors that this program runs on: those are little-endian. */
function ofElf(head: Buffer): string | undefined {
  if (head.length < headBytes || head.readUInt32BE() !== 0x7f_45_4c_46 || head[5] !== 1) return undefined;
  const isLong = head[4] === 2;
  const word = (at: number) => (isLong ? Number(head.readBigUInt64LE(at)) : head.readUInt32LE(at));
  const start = word(isLong ? 0x20 : 0x1c);
  const entryBytes = isLong ? 56 : 32;
  const count = head.readUInt16LE(isLong ? 0x38 : 0x2c);
  for (let at = start; at < start + count * entryBytes && at + entryBytes <= head.length; at += entryBytes) {
    if (head.readUInt32LE(at) !== PT_INTERP) continue;
    const name = word(at + (isLong ? 8 : 4));
    const end = name + word(at + (isLong ? 32 : 16));
    return end <= head.length ? head.toString('utf8', name, end).replace(/\0.*/s, '') || undefined : undefined;
  }
  return undefined;
}
