// Replaces the parts of undici that are not in the bundles: HTTP/2 (registries are asked over HTTP/1.1, where each
// layer has a connection of its own), SOCKS proxies, and request bodies other than strings. Nothing calls them.
module.exports = function leftOut(): never {
  throw new Error('this part of undici is left out');
};
