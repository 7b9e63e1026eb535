// Stands in for node:assert in the bundles. undici only ever asserts that something is true, and Node's module looks at
// the terminal's colors for messages that none of these has: 2 ms of each start.
module.exports = function assert(value: unknown, message: unknown = 'an assumption of undici does not hold'): asserts value {
  if (!value) throw message instanceof Error ? message : new Error(String(message));
};
