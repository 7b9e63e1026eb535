/**
 * A step of the build: writes what belongs below share, man pages and completions, into the directory that is named
 * first, for the commands that are named behind it by their paths.
 */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bashCompletion } from './bash.mjs';
import { completable } from './completion.mjs';
import { fishCompletion } from './fish.mjs';
import { helpOf } from './help.mjs';
import { manPage } from './man.mjs';
import { zshCompletion } from './zsh.mjs';

const [share = '', ...paths] = process.argv.slice(2);
const helps = paths.map(helpOf);
const commands = completable(helps);
const names = helps.map(({ name }) => name);
const [first = '', ...others] = names;

for (const help of helps) write(`man/man1/${help.name}.1`, manPage(help, names));
for (const command of commands) write(`fish/vendor_completions.d/${command.name}.fish`, fishCompletion(command));
write('zsh/site-functions/_md-containers', zshCompletion(commands));
// bash looks for a file of the command's name.
write(`bash-completion/completions/${first}`, bashCompletion(commands));
for (const name of others) symlinkSync(first, join(share, 'bash-completion/completions', name));

function write(name: string, text: string): void {
  const path = join(share, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}
