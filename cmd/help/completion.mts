/** What completions are made of: the same for each shell. */
import { readFileSync } from 'node:fs';
import { type Flag, flagsOf, type Help } from './help.mjs';

export interface Command {
  name: string;
  operands: string[];
  flags: Flag[];
}

/** All commands; one has the flags of another where its help says so. */
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

/** What stands for an operand or a value tells what completes it: `DIR`, `host|none`, `FILE|unconfined`. */
export function completes(placeholder: string): {
  words: string[];
  by: 'files' | 'directories' | 'images' | 'nothing';
} {
  const words = placeholder.split('|').filter((word) => /^[a-z]+$/.test(word));
  if (/^(FILE|SOURCE|CMD\.)/.test(placeholder)) return { words, by: 'files' };
  if (placeholder === 'DIR') return { words, by: 'directories' };
  return { words, by: placeholder.startsWith('IMAGE') ? 'images' : 'nothing' };
}

/** For sh: writes the names of the images in the store. */
export const storedImages = readFileSync('cmd/help/images.sh', 'utf8').replace(/^#.*\n/gm, '');
/** Behind that: as one types them. */
export const shortNames = "sed -e 's|^docker[.]io/||' -e 's|^library/||' -e 's|:latest$||'";

/** A word for a shell. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
