// The usual node:cluster program: WORKERS workers, respawned, over SCHED_RR (rr) or SCHED_NONE (none).
const cluster = require('node:cluster');

if (cluster.isPrimary) {
  cluster.schedulingPolicy = process.env.POLICY === 'none' ? cluster.SCHED_NONE : cluster.SCHED_RR;
  for (let count = 0; count < Number(process.env.WORKERS); count++) cluster.fork();
  cluster.on('exit', (worker) => {
    if (!worker.exitedAfterDisconnect) cluster.fork();
  });
  process.on('SIGTERM', () => cluster.disconnect(() => process.exit(0)));
} else {
  require(process.env.ENTRY);
}
