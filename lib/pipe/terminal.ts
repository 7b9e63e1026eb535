import { fstatSync } from 'node:fs';

/** Whether a file descriptor is a terminal. */
export function isTerminal(fd: number): boolean {
  return mayBeTerminal(fd) && tty().isatty(fd);
}

/** Columns of the terminal on a file descriptor; 80 where it is none, or does not know. */
export function terminalColumns(fd: number): number {
  return isTerminal(fd) ? new (tty().WriteStream)(fd).columns || 80 : 80;
}

let makeRoom = (print: () => void) => print();

/** For what draws on the terminal: is called with each line that is to be printed, perhaps there, and not drawn over. */
export function makeRoomBy(making: (print: () => void) => void): void {
  makeRoom = making;
}

/** Prints a line where nothing will be drawn over it. */
export function withRoom(print: () => void): void {
  makeRoom(print);
}

/** node:tty brings node:net and streams along, 2 ms of a start that most often has no terminal at all. */
function mayBeTerminal(fd: number): boolean {
  try {
    return fstatSync(fd).isCharacterDevice();
  } catch {
    // A closed descriptor is no terminal; whoever reads or writes it will be told.
    return false;
  }
}

function tty() {
  return process.getBuiltinModule('node:tty');
}
