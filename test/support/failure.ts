/** What `assert.throws` and `assert.rejects` are to meet: a `Failure` of this status, with a message that matches. */
export function failure(status: number, message?: RegExp): object {
  return { name: 'Failure', status, ...(message ? { message } : {}) };
}
