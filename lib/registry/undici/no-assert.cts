// Replaces node:assert in the bundles. undici only asserts that something is true. Node's module takes 2 ms of each
// start to look at the terminal's colors, for messages that are never needed.
module.exports = function assert(
  value: unknown,
  message: unknown = 'an assumption of undici does not hold',
): asserts value {
  if (!value) throw message instanceof Error ? message : new Error(String(message));
};
