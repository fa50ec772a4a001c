/** Where the control socket of a service is. */
import { unixPathProblem } from '../options/address';
import type { ServicePaths } from '../options/load';

/**
 * What `--control` says; else beside the pid file: `/run/app.pid` has `/run/app.control`. null: neither is given, or that
 * path would be too long for a socket.
 */
export function controlPath({ pidFile, control }: ServicePaths): string | null {
  if (control !== null) return control;
  if (pidFile === null) return null;
  const path = `${pidFile.replace(/(?<=[^/])\.pid$/, '')}.control`;
  return unixPathProblem(path) === null ? path : null;
}
