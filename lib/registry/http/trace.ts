/**
 * `-x` for HTTP, in the notation of `curl -v`. It listens where undici writes to the socket and parses from it, so what
 * is shown is what was sent: redirects, token requests and a proxy's CONNECT included. Exchanges that run at the same
 * time are told apart by their number.
 */
import { channel } from 'node:diagnostics_channel';
import type { DiagnosticsChannel } from 'undici';
import { trace } from '../../base/trace.js';
import { hiddenIn, redactPath } from '../names/redaction.js';
import { redactSecrets, secretsIn } from './secrets.js';

const secretHeaders = new Set(['authorization', 'proxy-authorization', 'cookie', 'set-cookie']);
const numbers = new WeakMap<object, number>();
const secrets = new WeakMap<object, string[]>();
const received = new WeakMap<object, number>();
let last = 0;

/** Begins to trace every exchange of this process. */
export function traceHttp(): void {
  listen<DiagnosticsChannel.ClientConnectedMessage>('undici:client:connected', ({ connectParams, socket }) => {
    const { protocol, host } = connectParams;
    trace(`* connected to ${protocol}//${host} (${socket.remoteAddress}:${socket.remotePort})`);
  });
  listen<DiagnosticsChannel.ClientConnectErrorMessage>('undici:client:connectError', ({ connectParams, error }) => {
    trace(`* connecting to ${connectParams.protocol}//${connectParams.host}: ${error.message || error.name}`);
  });
  listen<DiagnosticsChannel.ClientSendHeadersMessage>('undici:client:sendHeaders', ({ request, headers }) => {
    last += 1;
    numbers.set(request, last);
    trace(`* [${last}] to ${String(request.origin ?? 'the proxy')}`);
    const [first = '', ...rest] = headers.split('\r\n').filter((line) => line !== '');
    const [method, path = '', version] = first.split(' ');
    const logins = rest.map((line) => /^(?:proxy-)?authorization: (.*)/i.exec(line)?.[1]);
    secrets.set(request, [...logins.flatMap(secretsIn), ...hiddenIn({ search: path.replace(/^[^?]*/, '') })]);
    say('>', request, [`${method} ${redactPath(path)} ${version}`, ...rest.map(redactHeader)]);
  });
  listen<DiagnosticsChannel.RequestHeadersMessage>('undici:request:headers', ({ request, response }) => {
    const lines = [`HTTP/1.1 ${response.statusCode} ${response.statusText}`.trim()];
    for (let i = 0; i + 1 < response.headers.length; i += 2) {
      const line = `${text(response.headers[i])}: ${text(response.headers[i + 1])}`;
      lines.push(redactHeader(redactSecrets(line, secrets.get(request) ?? [])));
    }
    say('<', request, lines);
  });
  listen<DiagnosticsChannel.RequestBodyChunkReceivedMessage>('undici:request:bodyChunkReceived', (message) => {
    received.set(message.request, (received.get(message.request) ?? 0) + message.chunk.length);
  });
  listen<DiagnosticsChannel.RequestTrailersMessage>('undici:request:trailers', ({ request }) => {
    say('{', request, [`${received.get(request) ?? 0} bytes of body`]);
  });
  listen<DiagnosticsChannel.RequestErrorMessage>('undici:request:error', ({ request, error }) => {
    say('*', request, [`after ${received.get(request) ?? 0} bytes of body: ${error.message || error.name}`]);
  });
}

function listen<T>(name: string, onMessage: (message: T) => void): void {
  channel(name).subscribe((message) => onMessage(message as T));
}

function say(mark: string, request: object, lines: string[]): void {
  for (const line of lines) trace(`${mark} [${numbers.get(request) ?? '-'}] ${line}`);
}

function text(bytes: Buffer | undefined): string {
  return bytes === undefined ? '' : Buffer.from(bytes).toString('latin1');
}

function redactHeader(line: string): string {
  const colon = line.indexOf(':');
  const name = line.slice(0, colon).toLowerCase();
  const value = line.slice(colon + 1).trim();
  if (secretHeaders.has(name)) return `${line.slice(0, colon)}: ${redactCredentials(value)}`;
  if (name === 'location' || name === 'link') return `${line.slice(0, colon)}: ${redactLocation(value)}`;
  return line;
}

/** Hides the credentials and shows their scheme: `Bearer ***`. */
function redactCredentials(value: string): string {
  const [scheme] = /^(?:Bearer|Basic)(?= )/i.exec(value) ?? [];
  return scheme ? `${scheme} ***` : '***';
}

/**
 * Hides the secrets in a URL, which may lack its scheme or its host, and in links, of which a header may have several.
 */
function redactLocation(value: string): string {
  return redactPath(value.replace(/\/\/[^/?#]*@/g, '//***@').replace(/#.*/, '#***'));
}
