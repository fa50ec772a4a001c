/**
 * The preload of a forkserver: `node --require <this file> entry`. See protocol.ts for what it is started with. Everything that
 * would make another process or thread load it again is removed before the program runs.
 */

function onMainThread(): boolean {
  return (process.chdir as { disabled?: boolean }).disabled !== true;
}

function takeVariable(name: string): string | undefined {
  const value = process.env[name];
  delete process.env[name];
  return value;
}

function removeFromExecArgv(): void {
  const argv = process.execArgv;
  const at = argv.findIndex((arg, i) => arg === __filename && /^(-r|--require)$/.test(argv[i - 1] ?? ''));
  if (at > 0) argv.splice(at - 1, 2);
  else {
    const joined = argv.indexOf(`--require=${__filename}`);
    if (joined >= 0) argv.splice(joined, 1);
  }
}

function start(bootJson: string, channelName: string): void {
  const { FORKSERVER_VERSION } = require('./protocol') as typeof import('./protocol');
  const { loadBinding } = require('../engine/binding') as typeof import('../engine/binding');
  const { Forkserver } = require('./server') as typeof import('./server');
  const boot = JSON.parse(bootJson) as import('./protocol').ForkserverBoot;
  const channel = Number(/^fd:(\d+)$/.exec(channelName)?.[1] ?? -1);
  const { binding, reason } = loadBinding();
  if (boot.v !== FORKSERVER_VERSION || channel < 0 || binding === null) {
    console.error(
      `prefork: --preload cannot start: ${reason ?? `version ${boot.v}, channel ${channelName}`}`,
    );
    process.exit(1);
  }
  binding.setCloexec(channel);
  new Forkserver(binding, boot, channel).start();
}

if (process.env.PREFORK_FORKSERVER !== undefined && onMainThread()) {
  removeFromExecArgv();
  start(takeVariable('PREFORK_FORKSERVER') ?? '', takeVariable('PREFORK_CHANNEL') ?? '');
}
