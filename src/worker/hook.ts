/**
 * The preload of every worker: `node --require <this file> entry`. Everything that makes another process or thread load it
 * again (the argument, the private variables) is removed before the program runs.
 */

/** Node disables chdir() in worker threads; loading node:worker_threads to ask would cost milliseconds. */
function onMainThread(): boolean {
  return (process.chdir as { disabled?: boolean }).disabled !== true;
}

function takeVariable(name: string): string | undefined {
  const value = process.env[name];
  delete process.env[name];
  return value;
}

/** child_process.fork() starts its child with `process.execArgv`, in a thread with the thread's own. */
function removeFromExecArgv(): void {
  const argv = process.execArgv;
  const at = argv.findIndex((arg, i) => arg === __filename && /^(-r|--require)$/.test(argv[i - 1] ?? ''));
  if (at > 0) argv.splice(at - 1, 2);
  else {
    const joined = argv.indexOf(`--require=${__filename}`);
    if (joined >= 0) argv.splice(joined, 1);
  }
}

removeFromExecArgv();
if (process.env.PREFORK_WORKER !== undefined && onMainThread()) {
  const boot = takeVariable('PREFORK_WORKER');
  const channel = takeVariable('PREFORK_CHANNEL');
  const { install } = require('./install') as typeof import('./install');
  install(boot ?? '', channel ?? '');
}
