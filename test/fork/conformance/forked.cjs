// forked.cjs TEST: runs it as the main module of a forked process, and ends as that does.
const { fork, waitpid } = require('../../../dist/posix.js');

const pid = fork({ safety: 'warn' });
if (pid === 0) {
  process.argv.splice(1, 1);
  require('node:module').runMain();
} else {
  const { exitCode, signal } = waitpid(pid);
  if (signal === null) process.exit(exitCode);
  process.kill(process.pid, signal);
}
