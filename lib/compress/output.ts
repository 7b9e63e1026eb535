/** Where decompressed bytes go: into memory that the receiver provides, so that nothing is copied on the way. */
export interface Output {
  /** Memory for what comes next, at least one byte; a promise when the receiver has to catch up first. */
  room(): Buffer | Promise<Buffer>;
  /** Tells how many bytes of the memory from `room` have been filled. */
  filled(bytes: number): void;
  /** Nobody wants more bytes. */
  readonly closed: boolean;
}
