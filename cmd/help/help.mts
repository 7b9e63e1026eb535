/** Parses the `--help` of a built command. Man pages and completions are made from it, so that they say the same. */
import { execFileSync } from 'node:child_process';

export interface Help {
  name: string;
  /** As usage shows them: `DIR`, `[CMD...]`. */
  operands: string[];
  /** Paragraphs. An indented line in one is something to type. */
  prose: string[];
  flags: Section;
  examples: Section;
  statuses: Section;
}

/** Rows under a heading, and text before and after them. */
export interface Section {
  before: string;
  rows: { left: string; right: string }[];
  after: string;
}

export interface Flag {
  /** Without dashes, like `alias`. */
  name: string;
  alias: string | undefined;
  /** What stands for the value: `DIR`, `host|none`. */
  value: string | undefined;
  help: string;
}

/** The parsed help of the command at a path. */
export function helpOf(command: string): Help {
  const [usage = '', ...blocks] = execFileSync(command, ['--help'], { encoding: 'utf8' }).trimEnd().split('\n\n');
  const [, name, operands = ''] = /^usage: (\S+) \[FLAGS\] ?(.*)$/.exec(usage) ?? [];
  if (name === undefined) throw new Error(`${command} --help: it begins with ${JSON.stringify(usage)}`);
  const [flags, examples, statuses] = ['Flags', 'Examples', 'Exit statuses'].map((heading) => {
    const at = blocks.findIndex((block) => block.startsWith(`${heading}:`));
    if (at < 0) throw new Error(`${command} --help: there is no ${heading}`);
    return sectionOf(blocks.splice(at, 1)[0]!.slice(heading.length + 1));
  }) as [Section, Section, Section];
  return { name, operands: operands.split(' ').filter(Boolean), prose: blocks, flags, examples, statuses };
}

/** A row begins in one of the columns 3 to 7. A line that begins further to the right continues the row above it. */
function sectionOf(block: string): Section {
  const [before = '', ...lines] = block.split('\n');
  const indented = lines.filter((line) => line.startsWith('  ')).join('\n');
  const rows = indented
    .split(/^ {2,6}(?=\S)/m)
    .slice(1)
    .map((row) => {
      const [, left = '', right = ''] = /^(.*?)\s{2,}(?:# )?(.*)$/s.exec(row.trim()) ?? [];
      return { left, right: right.replace(/\n +/g, ' ') };
    });
  return { before: before.trim(), rows, after: lines.filter((line) => !line.startsWith('  ')).join('\n') };
}

export function flagsOf({ name, flags }: Help): Flag[] {
  return flags.rows.map(({ left, right }) => {
    const [, alias, flag, value] = /^(?:-(\w), )?--([a-z-]+)(?: (\S+))?$/.exec(left) ?? [];
    if (flag === undefined) throw new Error(`${name} --help: ${JSON.stringify(left)} is not a flag`);
    return { name: flag, alias, value, help: right };
  });
}
