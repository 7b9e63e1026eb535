#!/usr/bin/env node
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { insteadOf } from '../lib/isolate/docker-flags.js';
import { readRootfsDocument } from '../lib/isolate/document.js';
import { describePlan } from '../lib/isolate/dry-run.js';
import { isTerminal, openFileLimit } from '../lib/isolate/host.js';
import { isolate, planOf } from '../lib/isolate/isolate.js';
import { type Caller, settingsOf } from '../lib/isolate/settings.js';
import { exactCommand } from '../lib/isolate/words.js';
import { main } from '../lib/pipe/command.js';
import { Failure, failureOf } from '../lib/pipe/failure.js';
import { writeDocument } from '../lib/pipe/output.js';
import { Status } from '../lib/pipe/status.js';
import { endProcess } from '../lib/sys/exit.js';

main(
  {
    name: 'md-isolate',
    summary: 'Run a command in a container made of a root filesystem',
    operands: 'DIR [CMD...]',
    arity: { min: 1, max: Number.POSITIVE_INFINITY },
    stopAtOperand: true,
    ownFailure: 125,
    hintFor: insteadOf,
    end: endProcess,
    flags: {
      env: { kind: 'list', alias: 'e', value: 'NAME[=VALUE]', help: "set a variable, or pass on the caller's" },
      'env-file': { kind: 'list', value: 'FILE', help: 'read variables from a file, one a line' },
      user: { kind: 'string', alias: 'u', value: 'USER[:GROUP]', help: 'names of the image, or numbers' },
      'group-add': { kind: 'list', value: 'GROUP', help: 'a further group: a name of the image, or a number' },
      workdir: { kind: 'string', alias: 'w', value: 'PATH', help: 'the working directory' },
      hostname: { kind: 'string', alias: 'h', value: 'NAME', help: "the container's name; random by default" },
      entrypoint: { kind: 'string', value: 'CMD', help: "in place of the image's; empty for none" },
      net: { kind: 'string', value: 'host|none', help: "the host's network (default), or one of its own with lo only" },
      network: { kind: 'string', value: 'host|none', help: 'the same as --net' },
      'add-host': { kind: 'list', value: 'NAME:ADDRESS', help: 'a line more in /etc/hosts' },
      dns: { kind: 'list', value: 'ADDRESS', help: "a name server, in place of the host's" },
      'dns-search': { kind: 'list', value: 'DOMAIN', help: "a domain to search, in place of the host's; . for none" },
      'dns-option': { kind: 'list', value: 'OPTION', help: "an option of resolv.conf(5), in place of the host's" },
      rm: { kind: 'boolean', help: 'as always: nothing is kept of a container but what it wrote to DIR' },
      'read-only': { kind: 'boolean', help: 'make the root read-only' },
      overlay: { kind: 'boolean', help: 'keep what is written in memory; DIR itself never changes' },
      layer: { kind: 'string', value: 'LAYER', help: 'the same, kept in the directory LAYER for the next time' },
      volume: { kind: 'list', alias: 'v', value: 'SOURCE:TARGET[:ro]', help: 'show a file or directory of the host' },
      mount: { kind: 'list', value: 'FIELDS', help: 'type=bind|tmpfs,source=...,target=...[,readonly]' },
      tmpfs: { kind: 'list', value: 'TARGET[:OPTIONS]', help: 'a temporary file system in memory' },
      device: {
        kind: 'list',
        value: 'SOURCE[:TARGET]',
        help: 'let a device of the host, or those of a directory, work',
      },
      'no-new-privs': { kind: 'boolean', help: 'no set-user-ID program raises privileges' },
      'cap-add': { kind: 'list', value: 'CAP', help: 'a capability more, or ALL' },
      'cap-drop': { kind: 'list', value: 'CAP', help: 'a capability less, or ALL' },
      privileged: { kind: 'boolean', help: 'every capability and device, no filter, nothing masked: no protection' },
      seccomp: { kind: 'string', value: 'FILE|unconfined', help: "a filter in docker's format, or none" },
      'security-opt': {
        kind: 'list',
        value: 'OPTION',
        help: 'no-new-privileges or seccomp=..., as docker writes them',
      },
      'seccomp-report': { kind: 'boolean', help: 'name the system calls that the filter refused, at the end' },
      userns: {
        kind: 'string',
        value: 'host|self|range',
        help: 'a user namespace: none, of one user, or of all in /etc/subuid; by default none for root, else all there are',
      },
      memory: { kind: 'string', alias: 'm', value: 'SIZE', help: 'at most this much memory, for example 64m' },
      cpus: { kind: 'string', value: 'N', help: 'at most the time of so many processors, for example 1.5' },
      'pids-limit': { kind: 'string', value: 'N', help: 'at most so many processes' },
      'cpuset-cpus': { kind: 'string', value: 'LIST', help: 'these processors alone, for example 0-1' },
      ulimit: { kind: 'list', value: 'NAME=SOFT[:HARD]', help: 'a limit as of getrlimit(2), for example nofile=1024' },
      sysctl: { kind: 'list', value: 'NAME=VALUE', help: "a setting of the container's own namespaces" },
      'shm-size': { kind: 'string', value: 'SIZE', help: 'of /dev/shm; 64m by default' },
      interactive: {
        kind: 'boolean',
        alias: 'i',
        help: 'no terminal, even when stdin is one; stdin is always passed on',
      },
      tty: { kind: 'boolean', alias: 't', help: 'a terminal; the default when stdin and stdout are one' },
      'detach-keys': {
        kind: 'string',
        value: 'KEYS',
        help: 'keys that leave it in the background until fg; ctrl-p,ctrl-q by default',
      },
      'dry-run': { kind: 'boolean', help: 'print every step and its reason as JSON lines, and do nothing' },
      init: { kind: 'boolean', help: 'a process 1 that reaps orphans and passes signals on to the command' },
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
      "beside DIR. The status is the command's own, 128 + n when signal n ended it, or one of those below.",
  },
  async ({ flags, operands: [directory = '', ...command] }) => {
    const words = exactCommand(process.argv.slice(2), command.length);
    const root = rootOf(directory);
    const image = readRootfsDocument(root)?.config.config ?? {};
    const settings = settingsOf(root, image, flags, words, callerOf());
    if (!flags['dry-run']) return isolate(settings);
    for (const line of describePlan(await planOf(settings))) writeDocument(line);
    return 0;
  },
);

/**
 * An empty name comes from a variable that is not set. It must not mean the current directory, which may be / of the
 * host.
 */
function rootOf(directory: string): string {
  if (directory === '')
    throw new Failure(Status.usage, 'DIR', 'it is empty', { hint: 'write . for the current directory' });
  try {
    return resolve(directory);
  } catch (error) {
    throw failureOf(error, 'the current directory', { hint: 'it was removed: cd to one that is there' });
  }
}

function callerOf(): Caller {
  return {
    env: process.env,
    openFiles: openFileLimit(),
    processors: availableParallelism(),
    terminal: isTerminal(0) && isTerminal(1),
  };
}
