/** A part of an image: a sink that lets through what concerns the wanted paths. */
import { type ByteString, cleanPath, fromBytes, joinPath, splitPath } from './bytes.js';
import type { Entry, TarSink } from './tar.js';

export type ClosableSink = TarSink & { close?(): void };

/** `paths` with all that is below them, and the directories and symlinks on the way to them; everything if empty. */
export function onlyPaths(sink: ClosableSink, paths: string[]): ClosableSink {
  if (paths.length === 0) return sink;
  const wanted = paths.map((path) => cleanPath(fromBytes(Buffer.from(path))));
  let passing = false;
  return {
    entry: (entry) => {
      passing = wanted.some((path) => concerns(entry, path));
      if (passing) sink.entry(entry);
    },
    content: (bytes) => {
      if (passing) sink.content(bytes);
    },
    hole: (length) => {
      if (passing) sink.hole(length);
    },
    end: () => {
      if (passing) sink.end();
    },
    close: () => sink.close?.(),
  };
}

function concerns(entry: Entry, wanted: ByteString): boolean {
  const path = hiddenBy(cleanPath(entry.path));
  if (path === wanted || wanted === '' || path.startsWith(`${wanted}/`)) return true;
  return path === '' || wanted.startsWith(`${path}/`);
}

/** What a whiteout hides; any other path as it is. */
function hiddenBy(path: ByteString): ByteString {
  const [dir, name] = splitPath(path);
  if (name === '.wh..wh..opq') return dir;
  return name.startsWith('.wh.') ? joinPath(dir, name.slice(4)) : path;
}
