/** Errors in the shape that Node gives those of listen and bind. */
import { getSystemErrorMap } from 'node:util';

/** `errno` negative. `port` is -1 for a path, as Node has it. */
export function systemError(
  errno: number,
  syscall: 'listen' | 'bind',
  address: string | null,
  port: number,
): NodeJS.ErrnoException {
  const [code, text] = getSystemErrorMap().get(errno) ?? [`Unknown system error ${errno}`, ''];
  const at = port > 0 ? `${address}:${port}` : (address ?? '');
  // net says what the code means, dgram only where it was.
  const message = syscall === 'listen' ? `listen ${code}: ${text} ${at}` : `bind ${code} ${at}`;
  const error: NodeJS.ErrnoException & { address?: string | null; port?: number } = new Error(
    message.trimEnd(),
  );
  Object.assign(error, { code, errno, syscall, address });
  if (port !== 0) error.port = port;
  return error;
}
