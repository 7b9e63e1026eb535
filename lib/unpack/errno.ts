/** The errno values that unpacking tells apart: the same on x64 and arm64 (asm-generic/errno-base.h and errno.h). */
import { constants } from 'node:os';

export const {
  EPERM,
  ENOENT,
  E2BIG,
  EAGAIN,
  EACCES,
  EBUSY,
  EEXIST,
  EXDEV,
  ENOTDIR,
  EISDIR,
  EINVAL,
  EFBIG,
  EMLINK,
  ENOSPC,
  ENXIO,
  ERANGE,
  ENAMETOOLONG,
  ENOTEMPTY,
  ELOOP,
  ENODATA,
  EOVERFLOW,
  EOPNOTSUPP,
  ENOSYS,
} = constants.errno;
