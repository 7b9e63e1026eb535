/** Completions for fish, which wants a file for each command. What an operand may be is offered for all of them. */
import { type Command, completes, shortNames, storedImages } from './completion.mjs';

export function fishCompletion({ name, operands, flags }: Command): string {
  const lines = flags.map(({ name: flag, alias, value, help }) =>
    [
      `complete -c ${name} -l ${flag}`,
      ...(alias ? [`-s ${alias}`] : []),
      ...(value ? [`-r ${argument(value)}`] : []),
      `-d ${text(help)}`,
    ].join(' '),
  );
  const images = `sh -c ${text(storedImages)} | ${shortNames}`;
  return [
    `function __md_images\n  ${images}\nend\n`,
    ...(operands.length > 0 ? operands : ['']).map((it) => `complete -c ${name} ${argument(it)}`),
    ...lines,
    '',
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

/** In single quotes fish takes a backslash for one before another and before a quote. */
function text(words: string): string {
  return `'${words.replace(/[\\']/g, '\\$&')}'`;
}
