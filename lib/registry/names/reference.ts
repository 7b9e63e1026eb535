/**
 * Image references as people write them: `alpine`, `ghcr.io/owner/name:tag`, `localhost:5000/x@sha256:…`.
 * Source: the grammar of github.com/distribution/reference, and docker's defaults for a short name.
 */
import { isDigest, isUnknownDigest } from '../../base/check.js';
import { Failure, ignoringFailure, shorten } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { hub, isHub } from './hosts.js';
import { redactLogin } from './redaction.js';

export interface Reference {
  /** Host and port as users write them. All names of Docker Hub become `docker.io`. */
  registry: string;
  repository: string;
  tag: string | undefined;
  digest: string | undefined;
}

const domainPart = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domain = new RegExp(`^(?:${domainPart}(?:\\.${domainPart})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]{1,5})?$`);
const pathPart = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagForm = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const nameLimit = 255;

/**
 * Parses a reference; throws `Failure` 64 that says which part is wrong. A reference without tag and digest has the tag
 * `latest`.
 */
export function parseReference(text: string): Reference {
  const isUrl = /^[a-z]+:\/\//i.test(text);
  // An @ before a slash is no digest.
  const hasLogin = text.indexOf('@') >= 0 && text.indexOf('@') < text.indexOf('/');
  const shown = JSON.stringify(shorten(isUrl || hasLogin ? redactLogin(text) : text, 120));
  const wrong = (why: string, hint?: string) => new Failure(Status.usage, `image reference ${shown}`, why, { hint });
  if (text === '') throw wrong('it is empty');
  if (/^[./~]/.test(text))
    throw wrong('it is a path', 'oci:DIR is a layout, docker-archive:FILE an archive; md-isolate runs a tree');
  if (isUrl) throw wrong('it is a URL', `write it without ${text.slice(0, text.indexOf('//') + 2)}`);
  if (hasLogin) throw wrong('it has a login in it', 'pass --username and --password-stdin');

  const [rest, digest] = splitAt(text, text.indexOf('@'));
  if (digest !== undefined && !isDigest(digest)) {
    const why = isUnknownDigest(digest)
      ? 'its digest is of an algorithm that is not known here'
      : 'its digest is malformed';
    throw wrong(why, 'a digest is sha256: or sha512: and lower-case hex');
  }
  // A colon behind the last slash starts a tag; before it, a port.
  const colon = rest.lastIndexOf(':');
  const [name, tag] = splitAt(rest, colon > rest.lastIndexOf('/') ? colon : -1);
  if (tag !== undefined && !tagForm.test(tag))
    throw wrong('its tag is malformed', 'letters, digits, _ . -, at most 128');

  const { registry, repository } = splitName(name);
  // The grammar alone would allow ports up to 99999 and addresses such as 256.1.1.1.
  if (!domain.test(registry) || !URL.canParse(`https://${registry}`))
    throw wrong(`${JSON.stringify(registry)} is not a registry host`);
  if (!isRepository(repository)) {
    throw wrong(
      'its repository name is malformed',
      /[A-Z]/.test(repository)
        ? 'repository names are lower-case'
        : 'lower-case letters, digits and single . _ - between',
    );
  }
  if (repository.length > nameLimit) throw wrong(`its repository name is longer than ${nameLimit} characters`);
  if (/^[0-9a-f]{64}$/.test(name)) throw wrong('it is an image ID, and a registry knows names and digests only');
  return { registry, repository, tag: tag ?? (digest === undefined ? 'latest' : undefined), digest };
}

/** Parses a text that is not the user's own; undefined when it is no reference. */
export function tryReference(text: string): Reference | undefined {
  return ignoringFailure(() => parseReference(text));
}

/** Whether two texts name the same image: `alpine` is `docker.io/library/alpine:latest`. */
export function isSameReference(a: string, b: string): boolean {
  const [one, other] = [tryReference(a), tryReference(b)];
  return one !== undefined && other !== undefined ? formatReference(one) === formatReference(other) : a === b;
}

function splitName(name: string): { registry: string; repository: string } {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(0, slash));
  // docker: the first part is a host only when it cannot be a path component of Docker Hub.
  const isHost = slash >= 0 && (/[.:A-Z]/.test(first) || first === 'localhost');
  const registry = isHost ? first : hub;
  const repository = isHost ? name.slice(slash + 1) : name;
  if (!isHub(registry)) return { registry, repository };
  return { registry: hub, repository: repository.includes('/') ? repository : `library/${repository}` };
}

function splitAt(text: string, at: number): [string, string | undefined] {
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

/** The fully qualified form: `docker.io/library/alpine:latest`, with tag and digest where both were given. */
export function formatReference({ registry, repository, tag, digest }: Reference): string {
  return `${registry}/${repository}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

/** The name to ask the registry for: the digest if there is one, since it is more precise than a tag. */
export function manifestName({ tag, digest }: Reference): string {
  return digest ?? tag ?? 'latest';
}

/** Whether a text is the name of a repository, without its registry. */
export function isRepository(text: string): boolean {
  return text.split('/').every((part) => pathPart.test(part));
}

/** Whether a text is a tag or a digest, by which a registry knows a manifest. */
export function isManifestName(text: string): boolean {
  return tagForm.test(text) || isDigest(text);
}
