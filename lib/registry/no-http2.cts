// Stands in for node:http2 in the bundles: undici does without when it cannot be loaded, and a registry is asked over
// HTTP/1.1, where each layer has a connection of its own. Loading it would cost each command 6 ms.
throw new Error('HTTP/2 is not used');
