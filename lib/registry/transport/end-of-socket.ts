/**
 * What undici 7 gets wrong, and undici 8, which needs a newer Node, gets right: a server that closes its connection
 * while the parser is paused makes it throw where nobody can catch that (https://github.com/nodejs/undici/issues/5360).
 * At the end of a socket nothing more comes that would have to wait, so the pause ends as well.
 */
import { channel } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import type { DiagnosticsChannel } from 'undici';
import { once } from '../../base/once.js';

/** undici's parser of a socket. */
interface Parser {
  paused: boolean;
  resume(): void;
  llhttp: { llhttp_resume(parser: unknown): void };
  ptr: unknown;
}

/** Looks after every connection from now on, those through proxies included. */
export const endPausesAtEnd = once(async () => {
  const { default: symbols } = await import('undici/lib/core/symbols.js');
  channel('undici:client:connected').subscribe((message) => {
    const { socket } = message as DiagnosticsChannel.ClientConnectedMessage;
    // undici's own listener, which throws, comes after it.
    socket.prependListener('end', () => endPause(socket, symbols.kParser));
  });
});

function endPause(socket: Socket, kParser: symbol): void {
  const parser: Parser | undefined = Reflect.get(socket, kParser) ?? undefined;
  if (!parser?.paused) return;
  // It looks at what it has. An answer of known length is complete with that.
  parser.resume();
  // Of any other it tells the receiver once more, who still wants to wait. Only what undici does next completes it.
  if (!parser.paused || socket.destroyed) return;
  parser.llhttp.llhttp_resume(parser.ptr);
  parser.paused = false;
}
