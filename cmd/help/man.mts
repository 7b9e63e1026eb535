/** The man page of a command, in the language of man(7). */
import pkg from '../../package.json' with { type: 'json' };
import type { Help, Section } from './help.mjs';

/** The date of the build, by the convention of reproducible builds. */
const built = new Date(process.env.SOURCE_DATE_EPOCH ? Number(process.env.SOURCE_DATE_EPOCH) * 1000 : Date.now());

/** `names` are those of all commands: each refers to the others. */
export function manPage({ name, operands, prose, flags, examples, statuses }: Help, names: string[]): string {
  const [summary = ''] = prose[0]?.split(/\.(?:\s|$)/) ?? [];
  return [
    `.TH ${name.toUpperCase()} 1 ${built.toISOString().slice(0, 10)} "md ${pkg.version}" "User Commands"`,
    // No hyphenation and no justified lines, since most words are to be typed.
    '.nh',
    '.ad l',
    '.SH NAME',
    `${text(name)} \\- ${text(summary[0]!.toLowerCase() + summary.slice(1))}`,
    '.SH SYNOPSIS',
    [bold(name), ...['[FLAGS]', ...operands].map((it) => it.replace(/[A-Z]+/, italic))].join(' '),
    '.SH DESCRIPTION',
    ...prose.flatMap((it, i) => [...(i > 0 ? ['.PP'] : []), ...lines(it)]),
    '.SH OPTIONS',
    ...section(flags, (left) => left.replace(/[^ ,]+/g, (word) => (word.startsWith('-') ? bold(word) : italic(word)))),
    '.SH EXIT STATUS',
    ...section(statuses, text),
    '.SH EXAMPLES',
    ...section(examples, bold),
    '.SH SEE ALSO',
    names
      .filter((other) => other !== name)
      .map((other) => `${bold(other)}(1)`)
      .join(',\n'),
    '',
  ].join('\n');
}

function section({ before, rows, after }: Section, tag: (left: string) => string): string[] {
  return [
    ...(before ? lines(before[0]!.toUpperCase() + before.slice(1)) : []),
    ...rows.flatMap(({ left, right }) => ['.TP', tag(left), text(right)]),
    ...(after ? ['.PP', ...lines(after)] : []),
  ];
}

function lines(prose: string): string[] {
  return prose.split('\n').map((line) => (line.startsWith(' ') ? `.EX\n${text(line)}\n.EE` : text(line)));
}

const bold = (words: string) => `\\fB${text(words)}\\fR`;
const italic = (words: string) => `\\fI${text(words)}\\fR`;

/** Characters that roff interprets, or prints as a similar one: - as a hyphen, ' as a quotation mark. */
const special: Record<string, string> = {
  '\\': '\\e',
  '-': '\\-',
  "'": '\\(aq',
  '`': '\\(ga',
  '^': '\\(ha',
  '~': '\\(ti',
};

/** Escapes a text. A dot at the start of a line would make it a request; at its end, roff would add two spaces. */
function text(words: string): string {
  return words
    .replace(/[\\'`^~-]/g, (character) => special[character]!)
    .replace(/^\./gm, '\\&.')
    .replace(/[.?!]$/gm, '$&\\&');
}
