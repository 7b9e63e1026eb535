/**
 * The machine code that a forked child runs: it walks a table of system calls (laid out by program.ts) and makes them.
 *
 * Node cannot fork: of its threads only the calling one exists in the child, so a lock that another thread held stays
 * taken for ever, and V8 keeps its heap out of the child (MADV_DONTFORK). JavaScript, koffi and malloc are therefore
 * out of reach there. These few instructions need none of them: no stack, no heap, no library, only registers and the
 * table.
 *
 * An entry is eleven words of 8 bytes:
 *    0  call number, or -1 for a comparison     56  result, written for the parent to read
 *    8  addresses of the six arguments          64  address that the result is copied to, for later entries to use
 *                                               72  the entry to go on at, 80 the same after an error
 * The code is called with the address of a header: clone flags, address of the first entry.
 *
 * Left of each instruction is its encoding; a test assembles the text again and compares.
 */

import { arch } from '../syscalls/constants.js';

/** Offsets in an entry, in bytes. */
export const entryLayout = { number: 0, args: 8, result: 56, out: 64, next: 72, nextOnError: 80, size: 88 } as const;
/** Offsets in the header, in bytes. */
export const headerLayout = { flags: 0, first: 8, size: 16 } as const;
/** The call number that stands for a comparison. */
export const compareNumber = -1;

export const listings = {
  x64: `
  53                push rbx                    ; the callee saves these for the parent
  55                push rbp
  4889fb            mov rbx, rdi
  488b3b            mov rdi, [rbx]              ; flags
  31f6              xor esi, esi                ; the same stack, as in fork
  31d2              xor edx, edx
  4531d2            xor r10d, r10d
  4531c0            xor r8d, r8d
  b838000000        mov eax, 56                 ; clone
  0f05              syscall
  4885c0            test rax, rax
  7403              jz child
  5d                pop rbp                     ; parent: return the pid of the child
  5b                pop rbx
  c3                ret
                  child:
  488b6b08          mov rbp, [rbx+8]            ; the first entry
                  loop:
  488b4d08          mov rcx, [rbp+8]
  488b39            mov rdi, [rcx]
  488b4d10          mov rcx, [rbp+16]
  488b31            mov rsi, [rcx]
  488b4d18          mov rcx, [rbp+24]
  488b11            mov rdx, [rcx]
  488b4d20          mov rcx, [rbp+32]
  4c8b11            mov r10, [rcx]
  488b4d28          mov rcx, [rbp+40]
  4c8b01            mov r8, [rcx]
  488b4d30          mov rcx, [rbp+48]
  4c8b09            mov r9, [rcx]
  488b4500          mov rax, [rbp]              ; its call number
  4883f8ff          cmp rax, -1                 ; -1 is not a system call: compare memory
  7421              je compare
  0f05              syscall
                  store:
  48894538          mov [rbp+56], rax           ; the result, for the parent
  488b4d40          mov rcx, [rbp+64]           ; and for later entries
  488901            mov [rcx], rax
  483d01f0ffff      cmp rax, -4095              ; -4095 to -1 are errors
  7306              jae failed
  488b6d48          mov rbp, [rbp+72]           ; where to go on
  ebb1              jmp loop
                  failed:
  488b6d50          mov rbp, [rbp+80]           ; where to go on after an error
  ebab              jmp loop
                  compare:
  488b07            mov rax, [rdi]              ; (*a0 & a1) == a2 ? 0 : -a3
  4821f0            and rax, rsi
  4831d0            xor rax, rdx
  74d6              jz store
  4c89d0            mov rax, r10
  48f7d8            neg rax
  ebce              jmp store
`,
  arm64: `
  f353bfa9          stp x19, x20, [sp, #-16]!   ; the callee saves these for the parent
  f30300aa          mov x19, x0
  600240f9          ldr x0, [x19]               ; flags
  010080d2          mov x1, #0                  ; the same stack, as in fork
  020080d2          mov x2, #0
  030080d2          mov x3, #0
  040080d2          mov x4, #0
  881b80d2          mov x8, #220                ; clone
  010000d4          svc #0
  600000b4          cbz x0, child
  f353c1a8          ldp x19, x20, [sp], #16     ; parent: return the pid of the child
  c0035fd6          ret
                  child:
  740640f9          ldr x20, [x19, #8]          ; the first entry
                  loop:
  890640f9          ldr x9, [x20, #8]
  200140f9          ldr x0, [x9]
  890a40f9          ldr x9, [x20, #16]
  210140f9          ldr x1, [x9]
  890e40f9          ldr x9, [x20, #24]
  220140f9          ldr x2, [x9]
  891240f9          ldr x9, [x20, #32]
  230140f9          ldr x3, [x9]
  891640f9          ldr x9, [x20, #40]
  240140f9          ldr x4, [x9]
  891a40f9          ldr x9, [x20, #48]
  250140f9          ldr x5, [x9]
  880240f9          ldr x8, [x20]               ; its call number
  1f0500b1          cmn x8, #1                  ; -1 is not a system call: compare memory
  60010054          b.eq compare
  010000d4          svc #0
                  store:
  801e00f9          str x0, [x20, #56]          ; the result, for the parent
  892240f9          ldr x9, [x20, #64]          ; and for later entries
  200100f9          str x0, [x9]
  1ffc3fb1          cmn x0, #4095               ; -4095 to -1 are errors
  62000054          b.cs failed
  942640f9          ldr x20, [x20, #72]         ; where to go on
  eaffff17          b loop
                  failed:
  942a40f9          ldr x20, [x20, #80]         ; where to go on after an error
  e8ffff17          b loop
                  compare:
  090040f9          ldr x9, [x0]                ; (*a0 & a1) == a2 ? 0 : -a3
  2901018a          and x9, x9, x1
  3f0102eb          cmp x9, x2
  ea0303cb          neg x10, x3
  e0038a9a          csel x0, xzr, x10, eq
  f2ffff17          b store
`,
};

/**
 * The start of the stub (stub.ts): it maps the table again, at the same address, and goes on with the loop above,
 * whose code follows. When the table cannot be mapped, somebody else has executed the stub: it writes a message to
 * descriptor 2, and ends with 126.
 */
export const entrances = {
  x64: `
  bb00014000        mov ebx, 0x400100           ; the parameters: stub.ts
  488b3b            mov rdi, [rbx]
  488b7308          mov rsi, [rbx+8]
  ba03000000        mov edx, 3                  ; PROT_READ|PROT_WRITE
  41ba01001000      mov r10d, 0x100001          ; MAP_SHARED|MAP_FIXED_NOREPLACE
  4c8b4310          mov r8, [rbx+16]
  4531c9            xor r9d, r9d
  b809000000        mov eax, 9                  ; mmap
  0f05              syscall
  488b6b18          mov rbp, [rbx+24]           ; the entry to go on at
  4839f8            cmp rax, rdi                ; mapped where it was: its pointers hold
  7420              je loop
  b801000000        mov eax, 1                  ; write
  bf02000000        mov edi, 2
  488b7320          mov rsi, [rbx+32]
  488b5328          mov rdx, [rbx+40]
  0f05              syscall
  b8e7000000        mov eax, 231                ; exit_group
  bf7e000000        mov edi, 126                ; not executable
  0f05              syscall
                  loop:
`,
  arm64: `
  132080d2          movz x19, #0x100            ; the parameters: stub.ts
  1308a0f2          movk x19, #0x40, lsl #16
  600240f9          ldr x0, [x19]
  610640f9          ldr x1, [x19, #8]
  620080d2          mov x2, #3                  ; PROT_READ|PROT_WRITE
  230080d2          mov x3, #1                  ; MAP_SHARED|MAP_FIXED_NOREPLACE
  0302a0f2          movk x3, #0x10, lsl #16
  640a40f9          ldr x4, [x19, #16]
  050080d2          mov x5, #0
  c81b80d2          mov x8, #222                ; mmap
  f50300aa          mov x21, x0
  010000d4          svc #0
  740e40f9          ldr x20, [x19, #24]         ; the entry to go on at
  1f0015eb          cmp x0, x21                 ; mapped where it was: its pointers hold
  20010054          b.eq loop
  080880d2          mov x8, #64                 ; write
  400080d2          mov x0, #2
  611240f9          ldr x1, [x19, #32]
  621640f9          ldr x2, [x19, #40]
  010000d4          svc #0
  c80b80d2          mov x8, #94                 ; exit_group
  c00f80d2          mov x0, #126                ; not executable
  010000d4          svc #0
                  loop:
`,
};

/**
 * The code of a batch (batch.ts), which runs in this process. It is called with the address of a header: the addresses
 * of the first entry and of the end. An entry is eight words of 8 bytes: the call number, the address of the first
 * argument, three more arguments, the least result that counts as success, the result, and a place for the first
 * argument. The code returns the address of the first entry whose result was too small, or of the end.
 */
export const batchListings = {
  x64: `
  53                push rbx                    ; the callee saves these
  55                push rbp
  488b1f            mov rbx, [rdi]              ; the first entry
  488b6f08          mov rbp, [rdi+8]            ; the end
                  next:
  4839eb            cmp rbx, rbp
  7428              je over
  488b4b08          mov rcx, [rbx+8]            ; it may be the result of an earlier call
  488b39            mov rdi, [rcx]
  488b7310          mov rsi, [rbx+16]
  488b5318          mov rdx, [rbx+24]
  4c8b5320          mov r10, [rbx+32]
  488b03            mov rax, [rbx]
  0f05              syscall
  48894330          mov [rbx+48], rax
  483b4328          cmp rax, [rbx+40]
  7c06              jl over
  4883c340          add rbx, 64
  ebd3              jmp next
                  over:
  4889d8            mov rax, rbx
  5d                pop rbp
  5b                pop rbx
  c3                ret
`,
  arm64: `
  f353bfa9          stp x19, x20, [sp, #-16]!   ; the callee saves these
  130040f9          ldr x19, [x0]               ; the first entry
  140440f9          ldr x20, [x0, #8]           ; the end
                  next:
  7f0214eb          cmp x19, x20
  c0010054          b.eq over
  690640f9          ldr x9, [x19, #8]           ; it may be the result of an earlier call
  200140f9          ldr x0, [x9]
  610a40f9          ldr x1, [x19, #16]
  620e40f9          ldr x2, [x19, #24]
  631240f9          ldr x3, [x19, #32]
  680240f9          ldr x8, [x19]
  010000d4          svc #0
  601a00f9          str x0, [x19, #48]
  691640f9          ldr x9, [x19, #40]
  1f0009eb          cmp x0, x9
  6b000054          b.lt over
  73020191          add x19, x19, #64
  f2ffff17          b next
                  over:
  e00313aa          mov x0, x19
  f353c1a8          ldp x19, x20, [sp], #16
  c0035fd6          ret
`,
};

/** The code for this machine. */
export function machineCode(): Buffer {
  return assembled(listings[arch]);
}

/** The code of a batch for this machine. */
export function batchCode(): Buffer {
  return assembled(batchListings[arch]);
}

/** The code of the stub for this machine: the entrance, and the loop. */
export function stubCode(): Buffer {
  const [, loop = ''] = listings[arch].split(/^ +loop:$/m);
  return Buffer.concat([assembled(entrances[arch]), assembled(loop)]);
}

/** Each instruction begins with its encoding, two columns in. */
function assembled(listing: string): Buffer {
  const encodings = listing.split('\n').filter((line) => line.startsWith('  ') && line[2] !== ' ');
  return Buffer.from(encodings.map((line) => line.slice(2, line.indexOf(' ', 2))).join(''), 'hex');
}
