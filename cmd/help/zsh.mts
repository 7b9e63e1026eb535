/** A completion for zsh: `_arguments` does the work. */
import { type Command, completes, quoted, shortNames, storedImages } from './completion.mjs';

export function zshCompletion(commands: Command[]): string {
  const cases = commands.map(({ name, operands, flags }) => {
    const specs = [
      ...flags.flatMap(({ name, alias, value, help }) => {
        const said = `[${help.replace(/[\\[\]:]/g, '\\$&')}]${value ? argument(value) : ''}`;
        return [`*--${name}${value ? '=' : ''}${said}`, ...(alias ? [`*-${alias}${value ? '+' : ''}${said}`] : [])];
      }),
      ...operands.map((it, i) => `${it.endsWith('...') ? '*' : i + 1}${argument(it)}`),
    ];
    // Behind the first operand a command line of its own begins.
    const ends = operands.includes('CMD...') ? " -A '-*'" : '';
    return `  ${name}) _arguments -s -S${ends} ${specs.map(quoted).join(' ')} ;;\n`;
  });
  return [
    `#compdef ${commands.map(({ name }) => name).join(' ')}\n`,
    `_md_stored() (\n${storedImages})\n`,
    `_md_images() {\n  compadd -- \${(f)"$(_md_stored | ${shortNames})"}\n}\n`,
    `case $service in\n${cases.join('')}esac\n`,
  ].join('\n');
}

function argument(placeholder: string): string {
  const { words, by } = completes(placeholder);
  const action = { files: '_files', directories: '_directories', images: '_md_images', nothing: '' }[by];
  const known = words.length > 0 ? `compadd ${words.join(' ')}; ` : '';
  return `:${placeholder.replace(/[\\:]/g, '\\$&')}:${known || action ? `{${known}${action}}` : ' '}`;
}
