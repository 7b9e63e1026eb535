/**
 * The terminal that the user sees: its size, and its raw mode, in which every key is passed on as it is.
 *
 * Sources: termios(3), ioctl_tty(2), credentials(7) on sessions and process groups.
 */
import { isatty } from 'node:tty';
import { statFields } from '../../sys/procfs/status.js';
import { ioctlMemory } from '../../sys/syscalls/calls.js';
import { TC, TIO } from '../../sys/syscalls/constants.js';
import { isErrno } from '../../sys/syscalls/syscall.js';
import { guardTerminal } from './terminal-guard.js';

/** `struct termios` of the kernel, the same on x64 and arm64: four words of flags, a byte, 19 control characters. */
const termiosSize = 36;
const field = { input: 0, output: 4, control: 8, local: 12, VTIME: 17 + 5, VMIN: 17 + 6 };

/** `struct winsize` of the terminal that the user sees, or undefined when there is none: TIOCGWINSZ(2const). */
export function windowSize(): Buffer | undefined {
  const fd = [0, 1, 2].find((fd) => isatty(fd));
  if (fd === undefined) return undefined;
  const size = Buffer.alloc(8);
  return ioctlMemory.try(fd, TIO.CGWINSZ, size) < 0 ? undefined : size;
}

/** The terminal on descriptor 0, and whether it is in raw mode. */
export class OuterTerminal {
  private cooked: Buffer = Buffer.alloc(0);
  private unguard: (() => void) | undefined;

  enterRaw(): void {
    if (this.unguard || inBackground()) return;
    const cooked = getTermios();
    if (!cooked) return;
    const raw = rawTermios(cooked);
    this.cooked = cooked;
    this.unguard = guardTerminal(cooked, raw);
    // It fails when the terminal has hung up by now. Then SIGHUP is on its way, and the supervisor deals with that.
    ioctlMemory.try(0, TC.SETSW, raw);
  }

  leaveRaw(): void {
    if (!this.unguard) return;
    // It fails when the terminal has hung up, and then there is nothing to put back.
    ioctlMemory.try(0, TC.SETSW, this.cooked);
    this.unguard();
    this.unguard = undefined;
  }

  /** Stops this process as a job of the shell; returns once it is continued. No handler for SIGTSTP may be set. */
  suspend(): void {
    this.leaveRaw();
    // This does not stop a process group without a shell that could continue it (setpgid(2), orphaned process groups).
    process.kill(process.pid, 'SIGTSTP');
    this.enterRaw();
  }
}

/** Undefined when the terminal has hung up. */
function getTermios(): Buffer | undefined {
  const termios = Buffer.alloc(64);
  return isErrno(ioctlMemory.try(0, TC.GETS, termios)) ? undefined : termios.subarray(0, termiosSize);
}

/** The settings with which a terminal passes on every byte unchanged: cfmakeraw in termios(3). */
export function rawTermios(cooked: Buffer): Buffer {
  const raw = Buffer.from(cooked);
  const change = (at: number, clear: number, set = 0) => {
    raw.writeUInt32LE(((raw.readUInt32LE(at) & ~clear) | set) >>> 0, at);
  };
  change(field.input, 0o2753); // IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
  change(field.output, 0o1); // OPOST
  change(field.control, 0o460, 0o60); // CSIZE PARENB; CS8
  change(field.local, 0o100113); // ECHO ECHONL ICANON ISIG IEXTEN
  raw[field.VMIN] = 1;
  raw[field.VTIME] = 0;
  return raw;
}

/** Whether another process group has the terminal: changing its settings now would stop us (SIGTTOU). */
function inBackground(): boolean {
  // State, ppid, pgrp, session, tty_nr, tpgid.
  const [, , group, , , foreground] = statFields('self');
  return Number(foreground) > 0 && group !== foreground;
}
