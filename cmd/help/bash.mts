/** The completion for bash: the code in completion.bash, and then what each command takes. */
import { readFileSync } from 'node:fs';
import { type Command, quoted, storedImages } from './completion.mjs';

const code = readFileSync('cmd/help/completion.bash', 'utf8');

export function bashCompletion(commands: Command[]): string {
  const cases = commands.map(({ name, operands, flags }) => {
    const words = flags.flatMap(({ name, alias, value }) =>
      [`--${name}`, ...(alias ? [`-${alias}`] : [])].map((flag) => (value ? quoted(`${flag}=${value}`) : flag)),
    );
    return `    ${name}) operands=(${operands.join(' ')}) flags=(${words.join(' ')}) ;;\n`;
  });
  return [
    `${code}\n_md_stored() (\n${storedImages})\n`,
    `_md_takes() {\n  case $1 in\n${cases.join('')}  esac\n}\n`,
    `complete -F _md_complete ${commands.map(({ name }) => name).join(' ')}\n`,
  ].join('\n');
}
