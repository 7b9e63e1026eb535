// Replaces node:http in the bundles. undici has an HTTP parser of its own, and needs only these two things.
module.exports = {
  /** Node's default, in bytes. */
  maxHeaderSize: 16 * 1024,
  /** undici asks whether a body is one; none is. */
  IncomingMessage: class {},
};
