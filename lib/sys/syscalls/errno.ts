/** The errno values that are told apart somewhere, as numbers. Source: errno(3). */
import { constants } from 'node:os';

export const {
  EPERM,
  ENOENT,
  EINTR,
  E2BIG,
  EAGAIN,
  EACCES,
  EBUSY,
  EDQUOT,
  EEXIST,
  EXDEV,
  ENOTDIR,
  EISDIR,
  EINVAL,
  EFBIG,
  ENXIO,
  EPIPE,
  ERANGE,
  ENAMETOOLONG,
  ENOTEMPTY,
  ELOOP,
  ENODATA,
  EOPNOTSUPP,
  ENOSYS,
} = constants.errno;
