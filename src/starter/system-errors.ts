/** Failed system calls in the words of the C library, as Server::Starter's messages end. */
import { errnoNumber, errnoText } from '../engine/errno';
import { StarterExit } from './exit';

/** strerror(3) where libuv words it otherwise than with a capital. */
const WORDS: Readonly<Record<string, string>> = {
  EADDRNOTAVAIL: 'Cannot assign requested address',
  EISDIR: 'Is a directory',
  ENAMETOOLONG: 'File name too long',
  ELOOP: 'Too many levels of symbolic links',
  ENOEXEC: 'Exec format error',
  EAFNOSUPPORT: 'Address family not supported by protocol',
  ESRCH: 'No such process',
};

/** 'ENOENT' → 'No such file or directory'. */
export function strerror(code: string): string {
  const text = errnoText(code);
  return WORDS[code] ?? text.charAt(0).toUpperCase() + text.slice(1);
}

/** `what` followed by `No such file or directory`; the exit code is the errno. */
export function systemError(code: string, what: string): StarterExit {
  return new StarterExit(-errnoNumber(code), `${what}${strerror(code)}`);
}

/** As {@link systemError}, for what a function of node:fs has thrown; anything else is passed on. */
export function fileError(thrown: unknown, what: string): unknown {
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
  return typeof code === 'string' ? systemError(code, what) : thrown;
}
