/** Mocks of functions of Node's own modules. */
import { syncBuiltinESMExports } from 'node:module';
import type { TestContext } from 'node:test';
import { afterwards } from './run.js';

/**
 * Makes the mocks of a test count for those as well who have imported the functions by their names. Returns what ends
 * all of them; the end of the test does, too.
 */
export function spreadMocks(t: TestContext): () => void {
  syncBuiltinESMExports();
  const end = () => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  };
  afterwards(t, end);
  return end;
}
