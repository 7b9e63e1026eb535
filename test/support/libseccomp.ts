/** libseccomp as a reference: it compiles the same rules, and tests compare the verdicts of both programs. */

import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import { operators, type Rule } from '../../lib/isolate/seccomp/rules.js';

const library = load();

/** The `skip` of a test that needs libseccomp. */
export const needsLibseccomp: string | false = library === undefined && 'not installed: libseccomp';

interface Reference {
  filter: Buffer;
  /** AUDIT_ARCH_* of this machine, for which the filter is. */
  auditArch: number;
  /** The indexes of the rules that libseccomp did not accept. */
  refused: number[];
}

/** A filter that libseccomp made. It reads all numbers as those of this machine's architecture. */
export function referenceFilter(defaultAction: number, rules: readonly Rule[]): Reference {
  const { init, nativeArch, addRule, exportBpf, release } = library!;
  const context = init(defaultAction);
  const refused: number[] = [];
  rules.forEach(({ number, action, args }, i) => {
    const compared = args.map(({ index, op, value, valueTwo }) => ({
      arg: index,
      op: operators.indexOf(op) + 1,
      a: value,
      b: valueTwo,
    }));
    if (addRule(context, action, number, compared.length, compared) !== 0) refused.push(i);
  });
  const directory = mkdtempSync(join(tmpdir(), 'md-test-'));
  try {
    const path = join(directory, 'filter');
    const fd = openSync(path, 'w');
    exportBpf(context, fd);
    closeSync(fd);
    return { filter: readFileSync(path), auditArch: nativeArch() as number, refused };
  } finally {
    release(context);
    rmSync(directory, { recursive: true });
  }
}

/** seccomp.h: `struct scmp_arg_cmp`, and the functions that are used here. Undefined where it is not installed. */
function load() {
  let from: ReturnType<typeof koffi.load>;
  try {
    from = koffi.load('libseccomp.so.2');
  } catch {
    return undefined;
  }
  koffi.struct('scmp_arg_cmp', { arg: 'uint32_t', op: 'int', a: 'uint64_t', b: 'uint64_t' });
  return {
    init: from.func('void *seccomp_init(uint32_t action)'),
    nativeArch: from.func('uint32_t seccomp_arch_native()'),
    addRule: from.func(
      'int seccomp_rule_add_exact_array(void *context, uint32_t action, int number, uint32_t count, scmp_arg_cmp *args)',
    ),
    exportBpf: from.func('int seccomp_export_bpf(void *context, int fd)'),
    release: from.func('void seccomp_release(void *context)'),
  };
}
