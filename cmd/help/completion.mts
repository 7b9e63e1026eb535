/** What the completions of all shells have in common. */
import { readFileSync } from 'node:fs';
import { type Flag, flagsOf, type Help } from './help.mjs';

export interface Command {
  name: string;
  operands: string[];
  flags: Flag[];
}

/** The commands with their flags, including those of another command when the help refers to them. */
export function completable(helps: Help[]): Command[] {
  return helps.map((help) => {
    const { name, operands, flags } = help;
    const [, other] = /\bthose of (md-[a-z-]+)/.exec(flags.before + flags.after) ?? [];
    const own = flagsOf(help);
    const others = helps.filter((it) => it.name === other).flatMap(flagsOf);
    return {
      name,
      operands: operands.map((operand) => operand.replace(/[[\]]/g, '')),
      flags: [...own, ...others.filter((flag) => own.every(({ name }) => name !== flag.name))],
    };
  });
}

/** How to complete an operand or value, by its placeholder: `DIR`, `host|none`, `FILE|unconfined`. */
export function completes(placeholder: string): {
  words: string[];
  by: 'files' | 'directories' | 'images' | 'nothing';
} {
  const words = placeholder.split('|').filter((word) => /^[a-z]+$/.test(word));
  if (/^(FILE|SOURCE|CMD\.)/.test(placeholder)) return { words, by: 'files' };
  if (placeholder === 'DIR' || placeholder === 'LAYER') return { words, by: 'directories' };
  return { words, by: placeholder.startsWith('IMAGE') ? 'images' : 'nothing' };
}

/** A script for sh that writes the names of the images in the store. */
export const storedImages = readFileSync('cmd/help/images.sh', 'utf8').replace(/^#.*\n/gm, '');
/** Shortens these names to what one would type. */
export const shortNames = "sed -e 's|^docker[.]io/||' -e 's|^library/||' -e 's|:latest$||'";

/** A word in quotes for a shell. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
