/** An interpreter of classic BPF as the kernel runs it on `struct seccomp_data`, to ask a filter for its verdict. */

interface Call {
  number: number;
  /** AUDIT_ARCH_*. */
  arch: number;
  args?: bigint[];
}

/** Which programs are well-formed: bpf_check_classic and seccomp_check_filter in the kernel. Throws what is wrong. */
export function checkFilter(filter: Buffer): void {
  const count = filter.length / 8;
  if (filter.length % 8 !== 0 || count === 0 || count > 4096) throw new Error(`${count} instructions`);
  for (let i = 0; i < count; i++) {
    const { code, yes, no, k } = instruction(filter, i);
    const targets = code === 0x05 ? [k] : [0x15, 0x25, 0x35, 0x45].includes(code) ? [yes, no] : [];
    for (const target of targets) if (i + 1 + target >= count) throw new Error(`${i}: jump out of the program`);
    if (code === 0x20 && (k % 4 !== 0 || k >= 64)) throw new Error(`${i}: load at ${k}`);
  }
  if (instruction(filter, count - 1).code !== 0x06) throw new Error('the last instruction is no return');
}

/** What the filter returns for a call: a SECCOMP_RET_* value with its data. */
export function verdict(filter: Buffer, call: Call): number {
  const data = seccompData(call);
  let accumulator = 0;
  for (let at = 0; ; at++) {
    const { code, yes, no, k } = instruction(filter, at);
    switch (code) {
      case 0x20:
        accumulator = data.readUInt32LE(k);
        break;
      case 0x54:
        accumulator = (accumulator & k) >>> 0;
        break;
      case 0x05:
        at += k;
        break;
      case 0x15:
        at += accumulator === k ? yes : no;
        break;
      case 0x25:
        at += accumulator > k ? yes : no;
        break;
      case 0x35:
        at += accumulator >= k ? yes : no;
        break;
      case 0x45:
        at += (accumulator & k) !== 0 ? yes : no;
        break;
      case 0x06:
        return k;
      default:
        throw new Error(`${at}: an instruction that is not known: 0x${code.toString(16)}`);
    }
  }
}

function instruction(filter: Buffer, i: number) {
  const at = 8 * i;
  return {
    code: filter.readUInt16LE(at),
    yes: filter.readUInt8(at + 2),
    no: filter.readUInt8(at + 3),
    k: filter.readUInt32LE(at + 4),
  };
}

/** `struct seccomp_data`: number, architecture, instruction pointer, six arguments. */
function seccompData({ number, arch, args = [] }: Call): Buffer {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(number >>> 0, 0);
  data.writeUInt32LE(arch >>> 0, 4);
  args.forEach((arg, i) => {
    data.writeBigUInt64LE(BigInt.asUintN(64, arg), 16 + 8 * i);
  });
  return data;
}
