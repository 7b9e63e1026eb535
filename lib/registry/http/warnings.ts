/**
 * Warnings of a registry: that an image is deprecated, or that a service will end. They are shown to people and have no
 * other effect. Each command shows them once: a stage does not know what the one above has shown, since the document is
 * for what later stages need. Sources: distribution-spec, "Warnings"; RFC 7234, 5.5.
 */
import { warn } from '../../base/trace.js';
import type { Incoming } from './message.js';

/** The most characters that are shown of a registry, in all its lines. More could only hide what others say. */
const maxShown = 4096;

/** The registry's own have this code and agent: those of caches on the way (`110 cache "Response is stale"`) do not. */
const form = /(?:^|,)[ \t]*299[ \t]+-[ \t]+"((?:[^"\\]|\\.)*)"/g;

export class Warnings {
  private readonly told = new Set<string>();
  private left = maxShown;

  /** `name` is that of the repository, for messages. */
  constructor(private readonly name: string) {}

  /** Shows the warnings of a response that were not shown before. */
  tell(response: Pick<Incoming, 'headers' | 'quote'>): void {
    for (const header of response.headers('warning')) {
      for (const [, text = ''] of header.matchAll(form)) this.show(response.quote(text.replace(/\\(.)/g, '$1')));
    }
  }

  private show(text: string): void {
    if (text === '' || this.told.has(text)) return;
    const line = `${this.name}: the registry says: ${text}`;
    if (line.length > this.left) return;
    this.told.add(text);
    this.left -= line.length;
    warn(line);
  }
}
