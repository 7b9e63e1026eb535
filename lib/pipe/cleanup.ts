/** What must be undone when the process ends early: staged directories, temporary files, a raw terminal. */
const pending = new Set<() => void>();

/**
 * Registers a synchronous action for the case that the process fails or is told to stop by a signal.
 * Returns a function that takes it back: call it once the result is in place.
 */
export function onFailure(undo: () => void): () => void {
  pending.add(undo);
  return () => {
    pending.delete(undo);
  };
}

/** Runs what is registered, last first; each at most once. */
export function cleanUp(): void {
  for (const undo of [...pending].reverse()) {
    pending.delete(undo);
    undo();
  }
}
