/** Where decompressed bytes go: into memory that the receiver gives, so that nothing is copied on the way. */
export interface Output {
  /** Memory for what comes next, at least one byte; a promise when the receiver has to catch up first. */
  room(): Buffer | Promise<Buffer>;
  /** So many bytes of what `room` gave are filled. */
  filled(bytes: number): void;
  /** Nobody wants more. */
  readonly closed: boolean;
}
