import { holdTree } from '../lib/isolate/hold.js';
import { isolate, planOf } from '../lib/isolate/isolate.js';
import { describePlan } from '../lib/isolate/plan/dry-run.js';
import { callerOf } from '../lib/isolate/settings/caller.js';
import { insteadOf } from '../lib/isolate/settings/docker-flags.js';
import { readRootfsDocument } from '../lib/isolate/settings/document.js';
import { isolateFlags } from '../lib/isolate/settings/flags.js';
import { rootOf } from '../lib/isolate/settings/root.js';
import { settingsOf } from '../lib/isolate/settings/settings.js';
import { main } from '../lib/pipe/command.js';
import { writeDocument } from '../lib/pipe/output.js';
import { exactWords } from '../lib/pipe/utf8.js';
import { endProcess } from '../lib/sys/process/exit.js';

main(
  {
    name: 'md-isolate',
    summary: 'Run a command in a container made of a root filesystem',
    operands: 'DIR [CMD...]',
    stopAtOperand: true,
    ownFailure: 125,
    hintFor: insteadOf,
    end: endProcess,
    flags: isolateFlags,
    examples: [
      ['sudo md-isolate rootfs', "the image's own command"],
      ['sudo md-isolate rootfs /bin/sh', 'a shell'],
      ['sudo md-isolate -u nobody --net none rootfs id', 'as another user, without a network'],
      ['md-isolate -v .:/src -w /src rootfs make', 'without root, in this directory'],
      ['md-isolate --overlay rootfs sh', 'what is written is gone at the end'],
      ['md-isolate --dry-run rootfs true | jq -r .why', 'what a container is made of'],
    ],
    statuses: [0, 125, 126, 127],
    notes:
      'The defaults of the image (environment, user, directory, command) are read from DIR.json, which\n' +
      "md-unpack leaves beside DIR. The status is the command's own, 128 + n when signal n ended it, or one\n" +
      'of those below.\n\n' +
      "To copy the directory of --layer, root runs cp -a, or tar --xattrs --xattrs-include='*', while\n" +
      'nothing runs in it. Without the attributes what a container has removed comes back.\n\n' +
      '--dry-run writes step (a number), call, why, and man (where to read on); returns, which names a\n' +
      'result that later calls take; next and onError, the steps after a success and an error, where these\n' +
      'are not simply the next step and the end. compare is not a system call: with it the child looks at\n' +
      'what an earlier call has left in memory, and goes on or ends.',
  },
  async ({ flags, operands: [directory = '', ...command] }) => {
    const argv = process.argv.slice(2);
    const words = exactWords(argv, command.length).slice(argv.length - command.length);
    const root = rootOf(directory);
    if (!flags['dry-run']) holdTree(root);
    const settings = settingsOf(root, readRootfsDocument(root), flags, words, callerOf());
    if (!flags['dry-run']) return isolate(settings);
    for (const line of describePlan(await planOf(settings))) writeDocument(line);
    return 0;
  },
);
