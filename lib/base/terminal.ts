import { fstatSync, writeSync } from 'node:fs';

/** Whether a descriptor is a terminal. Who has system calls at hand asks by sys/files/terminal.ts, without node:tty. */
export function isTerminal(fd: number): boolean {
  return mayBeTerminal(fd) && tty().isatty(fd);
}

/** Columns and rows of the terminal on a file descriptor; 80 and 24 where it is none, or does not know. */
export function terminalSize(fd: number): { columns: number; rows: number } {
  const { columns, rows } = isTerminal(fd) ? new (tty().WriteStream)(fd) : {};
  return { columns: columns || 80, rows: rows || 24 };
}

let makeRoom = (print: () => void) => print();

/**
 * For progress bars: `making` is called with each function that prints a line, and clears the bars before it calls
 * that.
 */
export function makeRoomBy(making: (print: () => void) => void): void {
  makeRoom = making;
}

/** Prints by `print`, so that no progress bar overwrites it. */
export function withRoom(print: () => void): void {
  makeRoom(print);
}

/** Writes to stderr. If that is closed or full nobody sees the text, and the work goes on. */
export function writeToStderr(text: string): void {
  try {
    writeSync(2, text);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
  }
}

/** A quick check, so that node:tty is loaded only when needed: with node:net and streams it takes 2 ms. */
function mayBeTerminal(fd: number): boolean {
  try {
    return fstatSync(fd).isCharacterDevice();
  } catch {
    // A closed descriptor is not a terminal. Reading or writing it will fail with the reason.
    return false;
  }
}

function tty() {
  return process.getBuiltinModule('node:tty');
}
