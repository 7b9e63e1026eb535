// Stands in for node:http in the bundles. undici wants two things of it, and has an HTTP parser of its own.
module.exports = {
  /** Node's default, in bytes. */
  maxHeaderSize: 16 * 1024,
  /** undici asks whether a body is one; none is. */
  IncomingMessage: class {},
};
