#!/usr/bin/env node
import { fetchLayers } from '../lib/image/layers.js';
import { openLocal } from '../lib/image/local.js';
import { keepDocuments } from '../lib/image/manifest.js';
import { Store } from '../lib/image/store.js';
import { main } from '../lib/pipe/command.js';
import { asManifestDocument } from '../lib/pipe/document.js';
import { Failure } from '../lib/pipe/failure.js';
import { firstLine, stdinLines } from '../lib/pipe/input.js';
import { writeDocument } from '../lib/pipe/output.js';
import { makeProgress, progressMode } from '../lib/pipe/progress.js';
import { Status } from '../lib/pipe/status.js';
import { networkFlags, networkOf } from '../lib/registry/network.js';
import { openRegistry } from '../lib/registry/open.js';

main(
  {
    name: 'md-fetch-layer',
    summary: 'Download the layers of an image into the store, and tell of each as soon as it is verified',
    operands: '',
    arity: { min: 0, max: 0 },
    flags: {
      jobs: { kind: 'count', alias: 'j', value: 'N', help: 'how many layers at the same time (default 3)' },
      progress: { kind: 'string', value: 'MODE', help: 'bar, json or none (default: bar on a terminal, else none)' },
      ...networkFlags,
    },
    examples: [
      ['md-token alpine | md-manifest | md-fetch-layer', 'into the store'],
      ['md-token alpine | md-manifest | md-fetch-layer | jq -r .layer.path', 'where the layers are'],
    ],
    statuses: [0, 64, 65, 69, 74, 75, 76, 77],
    notes: 'Reads the document of md-manifest. The store is $MD_HOME/oci, an OCI image layout.',
  },
  async ({ flags }) => {
    const jobs = flags.jobs ?? 3;
    if (jobs < 1) throw new Failure(Status.usage, '--jobs', 'at least 1 is needed');
    const progress = makeProgress(progressMode(flags.progress), 'fetch');
    const document = asManifestDocument(await firstLine(stdinLines()));
    const { authorization: _, login: __, ...open } = document;
    writeDocument(open);
    const store = new Store();
    const source = (await openLocal(document, store)) ?? (await openRegistry(document, networkOf(flags, document)));
    try {
      await fetchLayers({ ...document, source, store, jobs, progress }, (layer) => writeDocument({ layer }));
    } finally {
      progress.end();
    }
    if (await keepDocuments(source, store, document)) await store.tag(document);
    return undefined;
  },
);
