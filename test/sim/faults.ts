/** Everything that the world can do to a manager, each counted where it happens. */
export const FAULTS = [
  // a spawn
  'fork EAGAIN',
  'fork EMFILE',
  'exec ENOENT',
  'exec EACCES',
  'forkserver ended',
  'no free pid',
  'pid used again',
  'spawn outage',
  'spawn reported late',
  'exit before the spawn is reported',
  // a worker
  'crash before ready',
  'exit 0 before ready',
  'never ready',
  'listens on too little',
  'listens late on the rest',
  'ready, then dies at once',
  'dies later',
  'ignores TERM',
  'drains too slowly',
  'drains by itself',
  'drains by itself and hangs',
  'retires',
  'stops listening and starts again',
  'says everything twice',
  'grows too big',
  'hangs',
  'hangs for a while',
  'all hang',
  'bad deployment',
  // messages and exits
  'exit noticed late',
  'message late',
  'message after the reap',
  'duplicate message',
  'event of a worker that was reaped',
  'unknown child',
  'other order',
  // the machine
  'clock jump',
  'manager busy',
  'KILL to a worker',
  'TERM to a worker from elsewhere',
  'STOP to a worker',
  'CONT to a worker',
  'exit storm',
  'listen failed',
  'load rises',
  'load falls',
  // configuration
  'configuration fails',
  'configuration takes long',
  'configuration changes',
  // requests
  'TERM',
  'INT',
  'QUIT',
  'HUP',
  'HUP, terminal gone',
  'HUP storm',
  'TTIN storm',
  'TTOU storm',
  'ALRM',
  'USR1',
  'USR2',
  'signals coalesced',
  'control: stop',
  'control: stop now',
  'control: reload',
  'control: scale',
  'control: retire',
  'control: reopen logs',
  'control: upgrade',
  'manager upgraded',
] as const;

export type Fault = (typeof FAULTS)[number];

/** How often each has happened. */
export class Tally {
  readonly counts = new Map<Fault, number>(FAULTS.map((fault) => [fault, 0]));

  add(fault: Fault): void {
    this.counts.set(fault, (this.counts.get(fault) as number) + 1);
  }

  merge(other: Tally): void {
    for (const [fault, n] of other.counts) this.counts.set(fault, (this.counts.get(fault) as number) + n);
  }

  get missing(): Fault[] {
    return FAULTS.filter((fault) => this.counts.get(fault) === 0);
  }
}
