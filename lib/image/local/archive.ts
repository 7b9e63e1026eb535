/**
 * The files in a tar archive that holds an image: they are found once, and then read in place. (The reader of lib/tar
 * takes a stream.) Such archives have plain files, and links between files with the same content.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { posix } from 'node:path';
import { Failure, failingAs } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { type Compression, compressionOf } from '../../compress/magic.js';
import { type ByteString, byteString, shown } from '../../tar/bytes.js';
import { blockSize, numberField, sumOf, textField } from '../../tar/fields.js';
import { maxExtendedBytes, parsePax, paxNumber, paxText } from '../../tar/pax.js';
import { decompressed } from './decompressed.js';
import { bad, FilePart, type Files } from './files.js';

/** An image has a few files for each layer, with short names. These are kept in memory. */
const maxMembers = 100_000;
const maxNameBytes = 16 * 1024 * 1024;
const maxLinks = 16;

type Member = { kind: 'file'; start: number; size: number } | { kind: 'link'; target: ByteString };

interface Header {
  name: ByteString;
  linkname: ByteString;
  flag: string;
  size: number;
}

export class ArchiveFiles implements Files {
  private readonly members = new Map<ByteString, Member>();
  private nameBytes = 0;

  private constructor(
    readonly place: string,
    private readonly fd: number,
    private readonly size: number,
  ) {}

  /** Opens an archive, decompresses it if need be, and finds its files. It stays open as long as the process. */
  static async open(path: string): Promise<ArchiveFiles> {
    let fd = failingAs(path, () => openFile(path));
    if (failingAs(path, () => compressionIn(fd)) !== 'none') {
      closeSync(fd);
      fd = await decompressed(path, (content) => {
        // Checked at the first piece, before something large that is no archive, such as a disk image, fills the disk.
        if (content.length >= blockSize && !isHeader(content)) throw noArchive(path);
      });
    }
    const { size } = failingAs(path, () => fstatSync(fd));
    const archive = new ArchiveFiles(path, fd, size);
    archive.scan();
    return archive;
  }

  open(path: string): FilePart | undefined {
    let name = memberName(byteString(path));
    for (let links = 0; links <= maxLinks; links++) {
      const member = this.members.get(name);
      if (!member) return undefined;
      if (member.kind === 'file') {
        return new FilePart(`${this.place}: ${path}`, member.size, this.fd, member.start, false);
      }
      name = member.target;
    }
    throw bad(`${this.place}: ${path}`, 'its links lead nowhere');
  }

  private scan(): void {
    let extended: Partial<Header> = {};
    for (let at = 0; at + blockSize <= this.size; ) {
      const block = this.read(at, blockSize);
      if (block.every((byte) => byte === 0)) return;
      const own = this.header(block, at);
      const isExtended = 'xgLK'.includes(own.flag);
      // What has been said about the next member is not about a header between.
      const header = isExtended ? own : { ...own, ...extended };
      // Links and directories have no content, whatever size they are said to have.
      const size = '123456'.includes(header.flag) ? 0 : header.size;
      const start = at + blockSize;
      if (start + size > this.size) throw bad(this.place, `it is cut off within ${shown(header.name)}`);
      if (isExtended) extended = { ...extended, ...this.extended(header, start) };
      else {
        this.add(header, start);
        extended = {};
      }
      at = start + Math.ceil(size / blockSize) * blockSize;
    }
    if (this.members.size > 0) return;
    // `docker save NAME >FILE` of an image that is not there leaves an empty file.
    const hint = 'what should have written it may have failed';
    throw this.size === 0 ? bad(this.place, 'it is empty', hint) : noArchive(this.place);
  }

  private header(block: Buffer, at: number): Header {
    if (!isHeader(block)) throw at > 0 ? bad(this.place, 'the checksum of a header is wrong') : noArchive(this.place);
    const prefix = block.toString('latin1', 257, 263) === 'ustar\0' ? textField(block, 345, 155) : '';
    const name = textField(block, 0, 100);
    const size = numberField(block, 124, 12);
    if (size === undefined) throw bad(this.place, `${shown(name)} has a size that is not a number`);
    const flag = String.fromCharCode(block[156]! || 0x30);
    const linkname = textField(block, 157, 100);
    return { name: prefix === '' ? name : `${prefix}/${name}`, linkname, flag, size };
  }

  /** What an extended header says about the next member. */
  private extended({ flag, size, name }: Header, start: number): Partial<Header> {
    if (size > maxExtendedBytes) throw bad(this.place, `the extended header ${shown(name)} is too long`);
    const body = this.read(start, size);
    if (flag === 'L') return { name: textField(body, 0, size) };
    if (flag === 'K') return { linkname: textField(body, 0, size) };
    // In archives of images a global header only holds comments.
    return flag === 'g' ? {} : this.pax(body);
  }

  private pax(body: Buffer): Partial<Header> {
    try {
      const records = parsePax(body);
      const [name, linkname] = [paxText(records, 'path'), paxText(records, 'linkpath')];
      const size = paxNumber(records, 'size');
      return {
        ...(name === undefined ? {} : { name }),
        ...(linkname === undefined ? {} : { linkname }),
        ...(size === undefined ? {} : { size }),
      };
    } catch (error) {
      throw error instanceof Failure ? bad(this.place, error.why) : error;
    }
  }

  private add({ name, linkname, flag, size }: Header, start: number): void {
    this.nameBytes += name.length + linkname.length;
    if (this.nameBytes > maxNameBytes) throw bad(this.place, 'the names of its files are too long');
    const path = memberName(name);
    if (flag === '0' || flag === '7') this.members.set(path, { kind: 'file', start, size });
    // The target of a hard link is relative to the archive, that of a symbolic link to its own directory.
    if (flag === '1') this.members.set(path, { kind: 'link', target: memberName(linkname) });
    if (flag === '2')
      this.members.set(path, { kind: 'link', target: memberName(`${posix.dirname(path)}/${linkname}`) });
    if (this.members.size > maxMembers) throw bad(this.place, `it has more than ${maxMembers} files`);
  }

  private read(at: number, length: number): Buffer {
    const buffer = Buffer.alloc(length);
    const bytes = failingAs(this.place, () => readSync(this.fd, buffer, 0, length, at));
    if (bytes === length) return buffer;
    throw bad(this.place, 'it is cut off');
  }
}

/** `./a`, `/a` and `a` are one file: a tool may use one form in the archive and another in its manifest. */
function memberName(path: ByteString): ByteString {
  return posix.normalize(path).replace(/^\/+/, '');
}

/** Whether the checksum is right. */
function isHeader(block: Buffer): boolean {
  return numberField(block, 148, 8) === sumOf(block, 0);
}

function noArchive(place: string): Failure {
  return bad(place, 'it is not a tar archive', 'one that is compressed with anything but gzip or zstd: decompress it');
}

function openFile(path: string): number {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
  const fd = openSync(path, flags);
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw new Failure(Status.usage, path, 'it is not a regular file', { hint: 'save it first' });
}

function compressionIn(fd: number): Compression {
  const head = Buffer.alloc(4);
  readSync(fd, head, 0, head.length, 0);
  return compressionOf(head);
}
