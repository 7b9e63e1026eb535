import { constants } from 'node:os';
import { warn } from './trace.js';

/** What must be undone when the process ends early: staged directories, temporary files, a raw terminal. */
const pending = new Set<() => void>();

/**
 * Registers a synchronous action for the case that the process fails or is told to stop by a signal.
 * Returns a function that takes it back: call it once the result is in place.
 */
export function onFailure(undo: () => void): () => void {
  stopOnSignals();
  pending.add(undo);
  return () => {
    pending.delete(undo);
  };
}

/** Runs what is registered, last first; each at most once. What cannot be undone is told, and keeps nothing else from it. */
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

/**
 * From the first thing that has to be undone on: undo, then end as the signal would have had it, with 128 + n. Until then
 * a signal just ends the process, even while it waits for its first line. The handler stays, since a second signal of the
 * kind, as timeout(1) sends it to the command and once more to its group, would end the undoing halfway.
 */
function stopOnSignals(): void {
  if (watching) return;
  watching = true;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      cleanUp();
      process.exit(128 + constants.signals[signal]);
    });
  }
}
