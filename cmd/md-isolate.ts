#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { readRootfsDocument } from '../lib/isolate/document.js';
import { isolate } from '../lib/isolate/isolate.js';
import { settingsOf } from '../lib/isolate/settings.js';
import { main } from '../lib/pipe/command.js';

main(
  {
    name: 'md-isolate',
    summary: 'Run a command in a container made of a root filesystem',
    operands: 'DIR [CMD...]',
    arity: { min: 1, max: Number.POSITIVE_INFINITY },
    stopAtOperand: true,
    ownFailure: 125,
    ownSignals: true,
    flags: {
      env: { kind: 'list', alias: 'e', value: 'NAME[=VALUE]', help: "set a variable, or pass on the caller's" },
      'env-file': { kind: 'list', value: 'FILE', help: 'read variables from a file, one a line' },
      user: { kind: 'string', alias: 'u', value: 'USER[:GROUP]', help: 'names of the image, or numbers' },
      workdir: { kind: 'string', alias: 'w', value: 'DIR', help: 'the working directory' },
      hostname: { kind: 'string', value: 'NAME', help: "the container's name; random by default" },
      entrypoint: { kind: 'string', value: 'CMD', help: "in place of the image's; empty for none" },
      net: { kind: 'string', value: 'host|none', help: "the host's network (default), or one of its own with lo only" },
      'read-only': { kind: 'boolean', help: 'make the root read-only' },
      overlay: { kind: 'boolean', help: 'keep what is written in memory; DIR itself never changes' },
      volume: { kind: 'list', alias: 'v', value: 'SOURCE:TARGET[:ro]', help: 'show a file or directory of the host' },
      mount: { kind: 'list', value: 'FIELDS', help: 'type=bind|tmpfs,source=...,target=...[,readonly]' },
      tmpfs: { kind: 'list', value: 'TARGET[:OPTIONS]', help: 'a temporary file system in memory' },
      'no-new-privs': { kind: 'boolean', help: 'no set-user-ID program raises privileges' },
      'cap-add': { kind: 'list', value: 'CAP', help: 'a capability more, or ALL' },
      'cap-drop': { kind: 'list', value: 'CAP', help: 'a capability less, or ALL' },
      umask: { kind: 'string', value: 'MODE', help: '0022 by default' },
    },
    examples: [
      ['sudo md-isolate rootfs', "the image's own command"],
      ['sudo md-isolate rootfs /bin/sh', 'a shell'],
      ['sudo md-isolate -u nobody --net none rootfs id', 'as another user, without a network'],
    ],
    statuses: [0, 125, 126, 127],
    notes:
      'The defaults of the image (environment, user, directory, command) are read from DIR.json, which md-unpack leaves\n' +
      "beside DIR. Any other status is the command's own; 128 + n when signal n ended it.",
  },
  async ({ flags, operands: [directory = '', ...command] }) => {
    const root = resolve(directory);
    const image = readRootfsDocument(root)?.config.config ?? {};
    const caller = { env: process.env, readFile: (path: string) => readFileSync(path, 'utf8') };
    return isolate(settingsOf(root, image, flags, command, caller));
  },
);
