import { warn } from '../base/trace.js';
import { SIGNALS } from '../sys/syscalls/constants.js';

/** What has to be undone when the process ends early: growing trees, temporary files, a child. */
const pending = new Set<() => void>();

/**
 * Registers a synchronous action for the case that the process fails, or is told to end by a signal.
 * Returns a function that cancels it, to be called when the result is in place.
 */
export function onFailure(undo: () => void): () => void {
  stopOnSignals();
  pending.add(undo);
  return () => {
    pending.delete(undo);
  };
}

/**
 * Runs what is registered, the last first, each at most once. When one fails there is a warning, and the others still
 * run.
 */
export function cleanUp(): void {
  for (const undo of [...pending].reverse()) {
    pending.delete(undo);
    try {
      undo();
    } catch (error) {
      warn(`cleaning up: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

let watching = false;
let end: (status: number) => never = (status) => process.exit(status);

/** Names what ends the process after a signal, in the place of process.exit. */
export function endAfterSignalsBy(how: (status: number) => never): void {
  end = how;
}

/**
 * Makes a signal clean up and then end the process with 128 + n. This begins with the first registered action: before
 * that a signal simply ends the process, even while it waits for its first line. The handler stays, since a second
 * signal must not interrupt the cleaning up: timeout(1) sends one to the command, and one more to its group.
 */
function stopOnSignals(): void {
  if (watching) return;
  watching = true;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      cleanUp();
      end(128 + SIGNALS[signal]);
    });
  }
}
