/** Checks `--node-arg` by asking node itself. */
import { execFile } from 'node:child_process';
import { preforkError } from '../errors';
import { quote } from './result';

/** `node --version` takes a few milliseconds. */
const NODE_TIMEOUT_MS = 10_000;

/** These run something else than the entry, or end at once. */
const NOT_FOR_WORKERS =
  /^(-e|--eval|-p|-pe|--print|-i|--interactive|-c|--check|-h|--help|-v|--version|--v8-options|--completion-bash|--build-.*|--test|--watch|--run|--prof-process|--experimental-sea-config)(=.*)?$/;

/**
 * Rejects with `ERR_PREFORK_NODE_ARG` unless node accepts every argument. Nothing is loaded or opened for it:
 * node checks its options before it prints its version.
 */
export async function checkNodeArgs(
  args: readonly string[],
  where: string,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  for (const arg of args) {
    if (!/^-./.test(arg) || arg === '--') {
      const problem = `${quote(arg)} is no option of node; write an option and its value as one, --node-arg=--require=./x.js`;
      throw preforkError('ERR_PREFORK_NODE_ARG', { where, problem });
    }
    if (NOT_FOR_WORKERS.test(arg)) {
      throw preforkError('ERR_PREFORK_NODE_ARG', { where, problem: `${arg} does not run the entry` });
    }
  }
  if (args.length > 0) {
    const refusal = await askNode([...args, '--version'], env);
    if (refusal !== null) {
      throw preforkError('ERR_PREFORK_NODE_ARG', { where, problem: refusal });
    }
  }
}

function askNode(args: readonly string[], env: NodeJS.ProcessEnv): Promise<string | null> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      args,
      { env, timeout: NODE_TIMEOUT_MS, killSignal: 'SIGKILL' },
      (error, _out, errors) => {
        if (!error) {
          resolve(null);
          return;
        }
        const said = errors.trim().split('\n').at(-1)!.replace(`${process.execPath}: `, '');
        resolve(`node ${process.versions.node} says: ${said || error.message}`);
      },
    );
  });
}
