#!/usr/bin/env node
import { beginPulling } from '../lib/image/busy.js';
import { fetchLayers } from '../lib/image/layers.js';
import { openLocal } from '../lib/image/local.js';
import { keepDocuments } from '../lib/image/manifest.js';
import { Store } from '../lib/image/store.js';
import { main } from '../lib/pipe/command.js';
import { asManifestDocument } from '../lib/pipe/document.js';
import { Failure } from '../lib/pipe/failure.js';
import { StdinLines } from '../lib/pipe/input.js';
import { writeDocument } from '../lib/pipe/output.js';
import { makeProgress, progressMode } from '../lib/pipe/progress.js';
import { Status } from '../lib/pipe/status.js';
import { Connections } from '../lib/registry/connections.js';
import { loadAgent } from '../lib/registry/dispatchers.js';
import { networkFlags, networkOf } from '../lib/registry/network.js';
import { openRegistry } from '../lib/registry/open.js';

/**
 * Over links that limit each connection, as CDNs do, six fetch in 9.7 s what three fetch in 14; where one fills the link
 * or the processor, more make no difference (2 to 6 were measured).
 */
const defaultJobs = 6;

main(
  {
    name: 'md-fetch-layer',
    summary: 'Download the layers of an image into the store, and tell of each as soon as it is verified',
    operands: '',
    arity: { min: 0, max: 0 },
    flags: {
      jobs: { kind: 'count', alias: 'j', value: 'N', help: `connections at the same time (default ${defaultJobs})` },
      progress: { kind: 'string', value: 'bar|json|none', help: 'a bar by default when stderr is a terminal' },
      ...networkFlags,
    },
    examples: [
      ['md-token alpine | md-manifest | md-fetch-layer', 'into the store'],
      ['md-token alpine | md-manifest | md-fetch-layer | jq -r .layer.path', 'where the layers are'],
    ],
    statuses: [0, 64, 65, 69, 74, 75, 76, 77],
    notes: [
      'Reads the document of md-manifest. The store is $MD_HOME/oci, an OCI image layout.',
      'Layers take a connection each. Those that are left over fetch parts of a large layer, if that makes it faster.',
    ].join('\n'),
  },
  async ({ flags }) => {
    const jobs = flags.jobs ?? defaultJobs;
    if (jobs < 1) throw new Failure(Status.usage, '--jobs', 'at least 1 is needed');
    const progress = makeProgress(progressMode(flags.progress), 'fetch');
    // The stage above is still at work.
    await loadAgent();
    const document = asManifestDocument(await new StdinLines().first());
    const { authorization: _, login: __, ...open } = document;
    writeDocument(open);
    const store = new Store();
    const pulled = await beginPulling(store.home);
    try {
      const source =
        (await openLocal(document, store)) ??
        (await openRegistry(document, networkOf(flags, document), new Connections(jobs)));
      await fetchLayers({ ...document, source, store, jobs, progress }, (layer) => writeDocument({ layer }));
      if (await keepDocuments(source, store, document)) await store.tag(document);
    } finally {
      progress.end();
      pulled();
    }
    return undefined;
  },
);
