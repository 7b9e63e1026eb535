/** A program of 32 bits, as the processor may run it beside its own of 64: it prints "32 bits". */

/** Left of each instruction is its encoding. The address of the text is that of the end of the code. */
const listings = {
  x64: {
    machine: 3, // EM_386
    flags: 0,
    code: `
      b804000000    mov eax, 4          ; write
      bb01000000    mov ebx, 1
      b976000100    mov ecx, 0x10076    ; the text
      ba08000000    mov edx, 8
      cd80          int 0x80
      b801000000    mov eax, 1          ; exit
      bb00000000    mov ebx, 0
      cd80          int 0x80
    `,
  },
  arm64: {
    machine: 40, // EM_ARM
    flags: 0x05000000, // EABI 5
    code: `
      0470a0e3      mov r7, #4          ; write
      0100a0e3      mov r0, #1
      1c108fe2      add r1, pc, #28     ; the text
      0820a0e3      mov r2, #8
      000000ef      svc 0
      0f78a0e3      mov r7, #0xf0000    ; set_tls, which every C library calls at its start
      057087e2      add r7, r7, #5
      0000a0e3      mov r0, #0
      000000ef      svc 0
      0170a0e3      mov r7, #1          ; exit, with what set_tls returned
      000000ef      svc 0
    `,
  },
};

const base = 0x10000;
const headers = 52 + 32;

export function narrowProgram(arch: keyof typeof listings): Buffer {
  const { machine, flags, code } = listings[arch];
  const encodings = [...code.matchAll(/^ +([0-9a-f]+)/gm)].map(([, hex = '']) => hex);
  const program = Buffer.concat([
    Buffer.alloc(headers),
    Buffer.from(encodings.join(''), 'hex'),
    Buffer.from('32 bits\n'),
  ]);
  program.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1], 0); // 32 bits, little-endian, version 1
  program.writeUInt16LE(2, 16); // ET_EXEC
  program.writeUInt16LE(machine, 18);
  program.writeUInt32LE(1, 20);
  program.writeUInt32LE(base + headers, 24); // entry point
  program.writeUInt32LE(52, 28); // program headers follow
  program.writeUInt32LE(flags, 36);
  program.writeUInt16LE(52, 40); // size of this header
  program.writeUInt16LE(32, 42); // size of a program header
  program.writeUInt16LE(1, 44); // how many there are
  const segment = [1, 0, base, base, program.length, program.length, 5, 0x1000]; // PT_LOAD, readable and executable
  segment.forEach((value, i) => {
    program.writeUInt32LE(value, 52 + 4 * i);
  });
  return program;
}
