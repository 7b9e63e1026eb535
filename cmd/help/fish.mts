/**
 * Completions for fish, a file for each command. Every operand is offered the values of all operands, but those of a
 * command line that follows, which has flags of its own.
 */

import { type Command, completes, shortNames, storedImages } from './completion.mjs';
import type { Flag } from './help.mjs';

export function fishCompletion({ name, operands, flags }: Command): string {
  const before = `__${name.replaceAll('-', '_')}_before_command`;
  const cut = operands.includes('CMD...');
  const complete = (when: string) => `complete -c ${name}${cut ? ` -n '${when}'` : ''}`;
  const lines = flags.map(({ name: flag, alias, value, help }) =>
    [
      `${complete(before)} -l ${flag}`,
      ...(alias ? [`-s ${alias}`] : []),
      ...(value ? [`-r ${argument(value)}`] : []),
      `-d ${text(help)}`,
    ].join(' '),
  );
  const images = `sh -c ${text(storedImages)} | ${shortNames}`;
  return [
    `function __md_images\n  ${images}\nend\n`,
    ...(cut ? [isBefore(before, flags)] : []),
    ...(operands.length > 0 ? operands : ['']).map(
      (it) => `${complete(it === 'CMD...' ? `not ${before}` : before)} ${argument(it)}`,
    ),
    ...lines,
    '',
  ].join('\n');
}

/**
 * A function that says whether the words before the cursor have no operand yet. What argparse refuses ends in a flag.
 */
function isBefore(name: string, flags: Flag[]): string {
  const specs = flags.map(({ name, alias, value }) => `${alias ? `${alias}/` : ''}${name}${value ? '=+' : ''}`);
  return [
    `function ${name}`,
    '  set -l words (commandline -opc)',
    '  set -e words[1]',
    `  argparse -s ${specs.join(' ')} -- $words 2>/dev/null; or return 0`,
    '  test (count $argv) -eq 0',
    'end\n',
  ].join('\n');
}

function argument(placeholder: string): string {
  const { words, by } = completes(placeholder);
  const choices = [
    ...words,
    ...(by === 'directories' ? ['(__fish_complete_directories)'] : []),
    ...(by === 'images' ? ['(__md_images)'] : []),
  ];
  return `${by === 'files' ? '-F' : '-f'}${choices.length > 0 ? ` -a ${text(choices.join(' '))}` : ''}`;
}

/** In single quotes, fish takes a backslash as an escape before a backslash and before a quote. */
function text(words: string): string {
  return `'${words.replace(/[\\']/g, '\\$&')}'`;
}
