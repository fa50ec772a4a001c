/** What users of pm2 and gunicorn type by habit, and what does it here. */

const meant = (name: string): string => `did you mean ${name}?`;

/** Commands of pm2. Here nothing runs that knows of all services: each is named by its pid file. */
const commands: Readonly<Record<string, string>> = {
  ls: meant('status'),
  list: meant('status'),
  ps: meant('status'),
  show: meant('status'),
  describe: meant('status'),
  info: meant('status'),
  monit: meant('top'),
  dash: meant('top'),
  delete: meant('stop'),
  del: meant('stop'),
  kill: meant('stop'),
  logs: 'follow the file of --log-file: tail -F app.log',
  flush: 'rotate the file of --log-file, and send USR1',
  reloadLogs: 'send USR1 to the manager',
  startup: 'write a systemd unit that has prefork run',
  save: 'write a systemd unit that has prefork run',
};

/** Options of gunicorn, and some of pm2. */
const options: Readonly<Record<string, string>> = {
  '-D': meant('prefork start, or --daemonize'),
  '--daemon': meant('prefork start, or --daemonize'),
  '-p': meant('--pid-file'),
  '--pid': meant('--pid-file'),
  '-c': meant('--config'),
  '-t': meant('--heartbeat-timeout'),
  '--timeout': meant('--heartbeat-timeout'),
  '--keep-alive': meant('--keepalive-linger'),
  '-u': meant('--user'),
  '-g': meant('--group'),
  '-m': meant('--umask'),
  '-e': meant('--env-dir'),
  '--env': meant('--env-dir'),
  '--error-logfile': meant('--log-file'),
  '--capture-output': meant('--log-file'),
  '--access-logfile': 'requests are logged by the program, or by the proxy in front',
  '-k': 'each worker is one event loop',
  '--worker-class': 'each worker is one event loop',
  '--threads': 'each worker is one event loop',
  '--reload': 'use node --watch while you develop, and prefork reload in production',
  '--watch': 'use node --watch while you develop, and prefork reload in production',
  '-i': meant('--workers'),
  '--instances': meant('--workers'),
  '--max-memory-restart': meant('--max-memory'),
};

/** What to do instead, for a command or an option that there is not; null where it is nobody's. */
export function foreignHint(word: string): string | null {
  const table = word.startsWith('-') ? options : commands;
  return Object.hasOwn(table, word) ? table[word]! : null;
}
