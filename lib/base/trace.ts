import { oneLine, shorten } from './failure.js';
import { withRoom, writeToStderr } from './terminal.js';

let command = 'md';
let on = false;

/** The name of this command, for warnings: several write to one stderr. */
export function nameCommand(name: string): void {
  command = name;
}

/** Turns `-x` on for the rest of the process. */
export function enableTrace(): void {
  on = true;
}

/** Whether `-x` was given. To be asked before an expensive line is built. */
export function tracing(): boolean {
  return on;
}

/** One line of the trace on stderr. Synchronous, so that the order is the order in which things happened. */
export function trace(line: string): void {
  if (on) warnLine(line);
}

/** What the user should know, though the work goes on. */
export function warn(line: string): void {
  warnLine(shorten(`${command}: ${line}`));
}

/** One line on stderr, with control characters made visible. */
export function warnLine(line: string): void {
  withRoom(() => writeToStderr(`${oneLine(line)}\n`));
}
