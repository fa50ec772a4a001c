/** What virtual workers do: the healthy one, and the ways to be ill. */
import type { Policy } from '../../src/core/policy';
import type { Fault } from './faults';
import type { Act, Program } from './kernel';
import { KEYS } from './policies';
import type { Random } from './random';

const PROGRAM_FAULTS = [
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
  'grows too big',
  'stops listening and starts again',
  'says everything twice',
] as const satisfies readonly Fault[];

export type ProgramFault = (typeof PROGRAM_FAULTS)[number];

/** Those that a whole deployment can have. */
const DEPLOYMENT_FAULTS = [
  'crash before ready',
  'exit 0 before ready',
  'never ready',
  'listens on too little',
  'ready, then dies at once',
] as const satisfies readonly ProgramFault[];

export const drawFault = (random: Random): ProgramFault => random.pick(PROGRAM_FAULTS);
export const drawDeploymentFault = (random: Random): ProgramFault => random.pick(DEPLOYMENT_FAULTS);

/** Starts within the ready timeout, listens on everything, and drains within the graceful timeout. */
export function healthyProgram(policy: Policy, random: Random): Program {
  const readyMs = random.int(1, Math.min(150, (policy.readyTimeoutMs ?? 300) / 2));
  const drainMs = random.int(0, Math.min(300, (policy.gracefulTimeoutMs ?? 300) / 2));
  const acts: Act[] = KEYS.map((key, i) => ({ afterMs: readyMs + i, say: { type: 'listening', key } }));
  if (policy.ready === 'message' || random.chance(0.2))
    acts.push({ afterMs: readyMs + 3, say: { type: 'ready' } });
  const drain: Act[] = [{ afterMs: drainMs, exit: 0 }];
  if (random.chance(0.7)) drain.unshift({ afterMs: 0, say: { type: 'draining' } });
  return { acts, on: { SIGTERM: drain, SIGQUIT: drain, SIGINT: drain, SIGUSR2: drain, SIGUSR1: 'ignore' } };
}

const DEAF = {
  SIGTERM: 'ignore',
  SIGQUIT: 'ignore',
  SIGINT: 'ignore',
  SIGUSR1: 'ignore',
  SIGUSR2: 'ignore',
} as const;

/** Does nothing more and hears nothing but KILL, STOP and CONT. */
export const deaf = (program: Program): Program => ({ ...program, on: DEAF });

export const isDeaf = (program: Program): boolean => program.on === DEAF;

export function faultyProgram(fault: ProgramFault, policy: Policy, random: Random): Program {
  const healthy = healthyProgram(policy, random);
  const { acts } = healthy;
  const readyMs = acts.at(-1)?.afterMs ?? 0;
  const first = acts[0] as Act;
  const with_ = (...more: Act[]): Program => ({ ...healthy, acts: [...acts, ...more] });
  const only = (...these: Act[]): Program => ({ ...healthy, acts: these });
  switch (fault) {
    case 'crash before ready':
      return only({ afterMs: random.int(0, readyMs), ...crash(random) });
    case 'exit 0 before ready':
      return only({ afterMs: random.int(0, readyMs), exit: 0 });
    case 'never ready':
      return only();
    case 'listens on too little':
      return only(first);
    case 'listens late on the rest':
      return only(...acts.map((act, i) => ({ ...act, afterMs: act.afterMs + i * random.int(0, 2000) })));
    case 'ready, then dies at once':
      return with_({ afterMs: readyMs + random.int(0, 2), ...crash(random) });
    case 'dies later':
      return with_({ afterMs: readyMs + random.int(3, 2000), ...crash(random) });
    case 'ignores TERM':
      return deaf(healthy);
    case 'drains too slowly': {
      const late: Act[] = [{ afterMs: (policy.gracefulTimeoutMs ?? 1000) * 2, exit: 0 }];
      return { ...healthy, on: { ...healthy.on, SIGTERM: late, SIGQUIT: late } };
    }
    case 'drains by itself': {
      const atMs = random.int(0, 1000);
      return with_(
        { afterMs: atMs, say: { type: 'draining' } },
        { afterMs: atMs + random.int(0, 300), exit: 0 },
      );
    }
    case 'drains by itself and hangs':
      return deaf(with_({ afterMs: readyMs + random.int(0, 500), say: { type: 'draining' } }));
    case 'retires':
      return with_({
        afterMs: readyMs + random.pick([0, 1, 500]),
        say: { type: 'retire', reason: 'max-requests' },
      });
    // It asks to be replaced, and leaves by itself where that takes too long.
    case 'grows too big': {
      const atMs = readyMs + random.int(0, 500);
      const fullMs = atMs + random.int(0, 500);
      return with_(
        { afterMs: atMs, say: { type: 'retire', reason: 'max-memory' } },
        { afterMs: fullMs, say: { type: 'draining' } },
        { afterMs: fullMs + random.int(0, 300), exit: 0 },
      );
    }
    case 'stops listening and starts again':
      return with_(
        { afterMs: readyMs + 2, say: { type: 'unlistening', key: KEYS[1] } },
        { afterMs: readyMs + random.int(2, 800), say: { type: 'listening', key: KEYS[1] } },
      );
    case 'says everything twice':
      return with_(...acts);
  }
}

function crash(random: Random): { exit: number } | { raise: NodeJS.Signals } {
  return random.chance(0.5)
    ? { exit: random.pick([1, 70, 255]) }
    : { raise: random.pick(['SIGSEGV', 'SIGABRT', 'SIGKILL'] as const) };
}
