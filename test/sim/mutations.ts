/** `npm run sim:mutations`: every bug of this list, planted in the core, is found by the simulator. */
import { hunt, type Mutation, type Verdict } from './mutate';

/** Schedules that a bug may take to be found. */
export const SEEDS = 2000;

export const MUTATIONS: readonly Mutation[] = [
  {
    bug: 'the last ready worker may be told to leave',
    file: 'reconcile.ts',
    find: 'if (serving <= 1) continue;',
    replace: '',
  },
  {
    bug: 'a surge commits one worker short',
    file: 'rollout.ts',
    find: 'Math.ceil(policy.rolloutReady * slots)',
    replace: 'Math.floor(policy.rolloutReady * slots)',
  },
  {
    bug: 'a batch does not wait for the one before',
    file: 'rollout.ts',
    find: 'for (let slot = 0; slot < window; slot++) if (!ready.has(slot)) return;',
    replace: '',
  },
  {
    bug: 'a new generation takes over the slots before it is committed',
    file: 'reconcile.ts',
    find: 'rollout !== null && slot < rollingSlots(d) ? rollout.generation',
    replace: 'rollout?.policy != null ? rollout.generation',
  },
  {
    bug: 'slots are filled during a stop',
    file: 'reconcile.ts',
    find: "if (d.s.phase === 'running') {",
    replace: "if (d.s.phase !== 'ended') {",
  },
  {
    bug: 'the manager exits when every worker has been told',
    file: 'stop.ts',
    find: 'if (d.workers.length > 0) return;',
    replace: 'if (d.workers.some(isActive)) return;',
  },
  {
    bug: 'spawns cost nothing',
    file: 'reconcile.ts',
    find: 'd.s.tokens -= 1;',
    replace: '',
  },
  {
    bug: 'the end of a backoff has no timer',
    file: 'reconcile.ts',
    find: 'd.later(notBeforeMs);\n    return;',
    replace: 'return;',
  },
  {
    bug: 'backoff does not grow',
    file: 'step.ts',
    find: 'backoffBaseMs * 2 ** Math.min(failures - 1, 30)',
    replace: 'backoffBaseMs',
  },
  {
    bug: 'a worker that was told to leave while its spawn was under way is not told again',
    file: 'step.ts',
    find: "else if (spawned.phase === 'draining') d.signal(spawned, d.s.stop?.signal ?? d.s.policy.drainSignal);",
    replace: '',
  },
  {
    bug: 'a worker killed while its spawn was under way lives',
    file: 'step.ts',
    find: "if (spawned.phase === 'killed') d.signal(spawned, 'SIGKILL');",
    replace: "if (spawned.phase === 'killed') return;",
  },
  {
    bug: 'a drain has no end',
    file: 'draft.ts',
    find: 'const deadlineMs = grace === null ? null : this.now + grace;',
    replace: 'const deadlineMs = null;',
  },
  {
    bug: 'KILL comes at once',
    file: 'draft.ts',
    find: 'const deadlineMs = grace === null ? null : this.now + grace;',
    replace: 'const deadlineMs = this.now + 1;',
  },
  {
    bug: 'a reload during a rollout is lost',
    file: 'rollout.ts',
    find: 'd.s.reloadQueued = true;',
    replace: '',
  },
  {
    bug: 'a generation goes on without a worker that died',
    file: 'step.ts',
    find: 'if (!asked && rollout !== null) {',
    replace: 'if (!asked && rollout !== null && !wasReady) {',
  },
  {
    bug: 'workers of a failed generation stay',
    file: 'reconcile.ts',
    find: "if (w.phase === 'starting') return reason;",
    replace: "if (w.phase === 'starting') return reason === 'rollback' ? null : reason;",
  },
  {
    bug: 'old workers leave before they are replaced',
    file: 'reconcile.ts',
    find: 'if (w.slot < d.s.desired && !isReplaced(d, w, target)) return null;',
    replace: '',
  },
  {
    bug: 'old workers are not kept for the delay',
    file: 'reconcile.ts',
    find: "if (d.now < atMs && reason === 'rollout' && w.retiring === null) {",
    replace: 'if (false) {',
  },
  {
    bug: 'a service that had been ready ends at the next failure',
    file: 'step.ts',
    find: '!d.s.everReady && d.s.policy.firstFailureExits',
    replace: 'd.s.policy.firstFailureExits',
  },
  {
    bug: 'ready without all that --bind names',
    file: 'ready.ts',
    find: 'if (said && missingListeners(d, w).length === 0)',
    replace: 'if (said)',
  },
  {
    bug: 'ready before the start interval',
    file: 'step.ts',
    find: 'waits ? d.now + policy.startIntervalMs : w.deadlineMs',
    replace: 'waits ? d.now : w.deadlineMs',
  },
  {
    bug: 'a rollout survives the stop',
    file: 'stop.ts',
    find: "d.commands.push({ type: 'rolloutEnded', generation, ok: false, reason: 'the manager is stopping' });",
    replace: '',
  },
  {
    bug: 'replacements beyond the spare',
    file: 'retirement.ts',
    find: 'return free > 0 &&',
    replace: 'return free > -2 &&',
  },
  {
    bug: 'a reaped worker stays in the books',
    file: 'step.ts',
    find: 'lastWords: string | null): void {\n  d.remove(w);',
    replace: 'lastWords: string | null): void {\n  if (w.leaving === null) d.remove(w);',
  },
  {
    bug: 'a worker id is given twice',
    file: 'reconcile.ts',
    find: 'const workerId = d.s.nextWorkerId++;',
    replace: 'const workerId = d.workers.length + 1;',
  },
  {
    bug: 'TTOU below one',
    file: 'elastic.ts',
    find: 'Math.min(Math.max(workers, minWorkers), maxWorkers)',
    replace: 'Math.min(workers, maxWorkers)',
  },
  {
    bug: 'two INTs of one keystroke count twice',
    file: 'step.ts',
    find: 'd.now - d.s.lastInterruptMs < INTERRUPT_WINDOW_MS',
    replace: 'false',
  },
  {
    bug: 'another number of slots is not published',
    file: 'elastic.ts',
    find: "{ what: 'scaled', workers: wanted });\n  d.statusChanged();",
    replace: "{ what: 'scaled', workers: wanted });",
  },
  {
    bug: 'the end of a generation is not told',
    file: 'rollout.ts',
    find: 'if (before.rollout !== null) former.add(before.rollout.generation);',
    replace: '',
  },
  {
    bug: 'a hung worker is not replaced',
    file: 'step.ts',
    find: "return retire(d, w, 'hung');",
    replace: 'return;',
  },
  {
    bug: 'a worker that hangs waits for its replacement for ever',
    file: 'retirement.ts',
    find: 'if (d.now >= untilMs) return true;',
    replace: '',
  },
  {
    bug: 'the wait of a worker that hangs has no timer',
    file: 'retirement.ts',
    find: 'd.later(untilMs);',
    replace: '',
  },
  {
    bug: 'those that hang wait behind others for their replacement',
    file: 'retirement.ts',
    find: '(retiring.some(isHung) || free > unreplacedHung(d))',
    replace: 'true',
  },
  {
    bug: 'a worker that hangs counts as one that serves',
    file: 'state.ts',
    find: "w.phase === 'ready' && w.retiring !== 'hung'",
    replace: "w.phase === 'ready'",
  },
  {
    bug: 'the whole pool leaves for retirement at once',
    file: 'retirement.ts',
    find: 'leaving(d) < maxLeaving(d.s.desired)',
    replace: 'leaving(d) < d.s.desired',
  },
  {
    bug: 'workers of one age leave together',
    file: 'ready.ts',
    find: '(1 - MAX_AGE_JITTER * d.random())',
    replace: '(1 + MAX_AGE_JITTER * d.random())',
  },
  {
    bug: 'an age has no timer',
    file: 'retirement.ts',
    find: 'else d.later(w.ageUpAtMs);',
    replace: '',
  },
  {
    bug: 'the pool grows by one a look however far behind it is',
    file: 'elastic.ts',
    find: 'Math.min(look.growBy * 2, MAX_GROWTH)',
    replace: '1',
  },
  {
    bug: 'the pool grows beyond its bound',
    file: 'elastic.ts',
    find: ', policy.maxWorkers - desired)',
    replace: ')',
  },
  {
    bug: 'the pool shrinks below its floor',
    file: 'elastic.ts',
    find: '&& d.s.desired > look.floor)',
    replace: '&& d.s.desired > 1)',
  },
  {
    bug: 'the pool shrinks at the first idle look',
    file: 'elastic.ts',
    find: 'd.now - calmSinceMs >= CALM_MS && ',
    replace: '',
  },
  {
    bug: 'looks that come together count each',
    file: 'elastic.ts',
    find: 'd.now - was.lookedAtMs < LOOK_MS - EARLY_MS',
    replace: 'false',
  },
  {
    bug: 'a new size of the pool is not published',
    file: 'elastic.ts',
    find: "{ what: 'pool-resized', workers, ...load });\n  d.statusChanged();",
    replace: "{ what: 'pool-resized', workers, ...load });",
  },
  {
    bug: 'a configuration whose pool does not follow the load keeps the number that it made',
    file: 'elastic.ts',
    find: ' && (former.elastic === null) === (policy.elastic === null);',
    replace: ';',
  },
  // As it once was.
  {
    bug: 'the automatic restart loses its timer in the step that commits',
    file: 'reconcile.ts',
    find: 'progressRollout(d);\n    giveUpUnspawnable(d);\n    beginQueued(d);\n    autoRestart(d);',
    replace: 'autoRestart(d);\n    progressRollout(d);\n    giveUpUnspawnable(d);\n    beginQueued(d);',
  },
  {
    bug: 'a ready timeout makes ready when the rollout failed in the same step',
    file: 'step.ts',
    find: 'else if (d.isOver(current)) continue;',
    replace: '',
  },
  {
    bug: 'a respawn overtakes the rollout where every spawn is a generation',
    file: 'reconcile.ts',
    find: 'if (rollout !== null && d.s.policy.generationPerSpawn) return;',
    replace: '',
  },
  {
    bug: 'a worker that lacked a listener of the old generation is not asked again',
    file: 'rollout.ts',
    find: 'd.statusChanged();\n  askAllAgain(d);',
    replace: 'd.statusChanged();',
  },
  {
    bug: 'the last worker is never replaced without a spare',
    file: 'retirement.ts',
    find: '(alone ? Math.max(spare, 1) : spare)',
    replace: 'spare',
  },
  {
    bug: 'generations pile up while old workers are kept',
    file: 'rollout.ts',
    find: 'if (d.s.rollout !== null || keepsOld(d)) {',
    replace: 'if (d.s.rollout !== null) {',
  },
  {
    bug: 'an automatic restart that failed is tried again at once',
    file: 'rollout.ts',
    find: 'd.s.attemptedAtMs = d.now;\n',
    replace: '',
  },
  {
    bug: 'a ready timeout stays due during a stop in turns',
    file: 'stop.ts',
    find: 'd.patch(w, { deadlineMs: null })',
    replace: 'd.patch(w, {})',
  },
];

export function table(verdicts: readonly Verdict[]): string {
  const width = Math.max(...verdicts.map(({ bug }) => bug.length));
  return verdicts
    .map(({ bug, seed, violation }) =>
      seed === null
        ? `${bug.padEnd(width)}  SURVIVED`
        : `${bug.padEnd(width)}  seed ${String(seed).padStart(4)}  ${violation}`,
    )
    .join('\n');
}

if (require.main === module) {
  const verdicts = hunt(MUTATIONS, SEEDS);
  console.log(table(verdicts));
  const survived = verdicts.filter(({ seed }) => seed === null).length;
  console.log(`\n${verdicts.length} bugs planted, ${verdicts.length - survived} found`);
  process.exitCode = survived > 0 ? 1 : 0;
}
