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

/** What node says against its arguments, or null. */
function askNode(args: readonly string[], env: NodeJS.ProcessEnv): Promise<string | null> {
  const limits = { env, timeout: NODE_TIMEOUT_MS, killSignal: 'SIGKILL' } as const;
  return new Promise((resolve) => {
    execFile(process.execPath, args, limits, (error, _output, errors) => {
      const said = error && (aboutOne(errors, args) || error.message);
      resolve(said && `node ${process.versions.node} says: ${said.replace(`${process.execPath}: `, '')}`);
    });
  });
}

/** The line that is about one of the arguments: node 20 complains of options of its own besides. */
function aboutOne(errors: string, args: readonly string[]): string | undefined {
  const names = args.map((arg) => arg.split('=', 1)[0]!);
  const lines = errors.trim().split('\n');
  return lines.find((line) => names.some((name) => line.includes(name))) ?? lines.at(-1);
}
