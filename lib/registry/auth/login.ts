/**
 * `--username` and `--password-stdin`: a login for this pull only. A password on the command line would show in `ps`.
 */
import { isUtf8 } from 'node:buffer';
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import type { Flags, FlagValues } from '../../pipe/flags.js';

export const loginFlags = {
  username: { kind: 'string', alias: 'u', value: 'NAME', help: 'log in as this user, with --password-stdin' },
  'password-stdin': { kind: 'boolean', help: 'read the password or access token from stdin' },
} as const satisfies Flags;

const passwordLimit = 64 * 1024;

/** The login that the flags ask for, or undefined. Throws `Failure` 64 for half of one. */
export async function askedLogin(
  flags: FlagValues<typeof loginFlags>,
): Promise<{ username: string; password: string } | undefined> {
  const { username, 'password-stdin': fromStdin } = flags;
  if (username === undefined && !fromStdin) return undefined;
  if (username === undefined) throw new Failure(Status.usage, '--password-stdin', 'it needs --username');
  if (!fromStdin) {
    throw new Failure(Status.usage, '--username', 'it needs --password-stdin', {
      hint: 'that reads the password from stdin, for example < FILE',
    });
  }
  if (username === '' || username.includes(':')) {
    throw new Failure(Status.usage, '--username', 'a user name is not empty and has no colon');
  }
  const password = (await readStdin()).replace(/\r?\n$/, '');
  if (password === '') throw new Failure(Status.usage, '--password-stdin', 'stdin is empty');
  return { username, password };
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > passwordLimit) {
      throw new Failure(Status.usage, '--password-stdin', `it is longer than ${passwordLimit} bytes`);
    }
  }
  const bytes = Buffer.concat(chunks);
  if (!isUtf8(bytes))
    throw new Failure(Status.usage, '--password-stdin', 'it is not UTF-8, which the document has to be');
  return bytes.toString();
}
