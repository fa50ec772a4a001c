/** One question to the manager of a running service. */
import { type PreforkError, preforkError } from '../errors';
import type { ControlClient } from '../control/client';
import type { ServicePaths } from '../options/load';
import { serviceName } from './service-options';

/**
 * Connects, has `question` ask, and closes. Rejects as it does, with `ERR_PREFORK_NOT_RUNNING` and with
 * `ERR_PREFORK_UNREACHABLE`.
 */
export async function askManager<T>(
  paths: ServicePaths,
  question: (client: ControlClient) => Promise<T>,
): Promise<T> {
  const { findManager } = require('../control/find') as typeof import('../control/find');
  const { NoAnswerError } = require('../control/client') as typeof import('../control/client');
  const service = serviceName(paths);
  const unreachable = (problem: string): PreforkError =>
    preforkError('ERR_PREFORK_UNREACHABLE', { service, problem });
  const found = await findManager(paths);
  if (found.state === 'stopped') throw preforkError('ERR_PREFORK_NOT_RUNNING', { service });
  if (found.state === 'unknown') throw unreachable(found.problem);
  if (found.client === null) {
    throw unreachable(found.problem ?? `manager ${found.pid} has no control socket (--control)`);
  }
  try {
    return await question(found.client);
  } catch (error) {
    throw error instanceof NoAnswerError ? unreachable(error.message) : error;
  } finally {
    found.client.close();
  }
}
