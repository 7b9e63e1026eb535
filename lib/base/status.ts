/**
 * Exit statuses. Sources: sysexits.h (64 to 78), docker's `docker run` (125 to 127), the shell's 128+n for signals.
 */
export const Status = {
  ok: 0,
  /** EX_USAGE: an unknown flag, a missing operand, a terminal where a document is expected. */
  usage: 64,
  /** EX_DATAERR: bad data; a digest, a size, an archive or a document that is not what it claims to be. */
  data: 65,
  /** EX_NOINPUT: what was asked for is not there: no such image, tag, platform or place. To ask again is of no use. */
  missing: 66,
  /** EX_UNAVAILABLE: the registry cannot be reached, breaks off or fails. It may do better later. */
  unavailable: 69,
  /** EX_SOFTWARE: a fault of this program. */
  software: 70,
  /** EX_IOERR: reading or writing failed: no such file, a full disk. */
  io: 74,
  /** EX_TEMPFAIL: the registry asks to come back later, or the store or a tree is in use. */
  tryLater: 75,
  /** EX_PROTOCOL: the registry said something that the protocol does not allow. */
  protocol: 76,
  /** EX_NOPERM: the registry or the kernel does not permit it. */
  notPermitted: 77,
  /** docker: the container could not be made. */
  isolate: 125,
  /** docker, POSIX sh: the command was found and could not be executed. */
  notExecutable: 126,
  /** docker, POSIX sh: the command was not found. */
  notFound: 127,
  /** 128 + SIGPIPE: the reader of our output has gone. */
  readerGone: 141,
} as const;

/** What each status means in one phrase, for `--help`. */
export const statusMeaning: Record<number, string> = {
  0: 'done',
  64: 'wrong usage',
  65: 'bad data: a document, digest, size or archive is wrong',
  66: 'the image is not there, or not for the platform',
  69: 'the registry cannot be reached, or fails',
  70: 'a fault of this program',
  74: 'a file is not there, or the disk failed or is full',
  75: 'try later: the registry asks for it, or the store or a tree is in use',
  76: 'the registry broke the protocol',
  77: 'not permitted by the registry or the kernel',
  125: 'the container could not be made; also wrong usage',
  126: 'the command cannot be executed',
  127: 'the command was not found',
  141: 'the reader of the output went away',
};
