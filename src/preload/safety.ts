/**
 * Whether this process can be forked. What would be shared by accident or cut off in the middle is `unsafe`; what most
 * programs have, and what works in every child by itself, is a `note`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import inspector from 'node:inspector';
import type { Binding } from '../engine/binding';
import { type Descriptor, openDescriptors, watchedBy } from './descriptors';
import type { LiveResource, Origins } from './origins';

export interface Finding {
  readonly severity: 'unsafe' | 'note';
  /** for people: `a connected TCP socket (descriptor 21)` */
  readonly what: string;
  /** `file:line:column` that made it; null where that is not known */
  readonly place: string | null;
}

export interface SafetyContext {
  readonly binding: Binding;
  /** knows where things were made, if it was started before they were */
  readonly origins?: Origins;
  /** descriptors that are meant to be shared, or that the fork itself uses */
  readonly shared?: Iterable<number>;
}

/** As async_hooks names them; in `getActiveResourcesInfo()` they are spelt otherwise. */
const WORKER = 'WORKER';

/** Everything that a fork now would share or cut off. */
export function examine(context: SafetyContext): Finding[] {
  const { binding, origins } = context;
  const live = origins?.live() ?? [];
  const descriptors = openDescriptors();
  return [
    ...descriptorFindings(descriptors, context),
    ...requestFindings(binding, live),
    ...threadFindings(descriptors, live, origins !== undefined),
    ...inspectorFindings(origins?.sessions() ?? []),
    ...timerFindings(),
  ];
}

/** One line a finding. */
export function describeFinding({ what, place }: Finding): string {
  return place === null ? what : `${what}, made at ${place}`;
}

function descriptorFindings(
  descriptors: readonly Descriptor[],
  { binding, origins, shared = [] }: SafetyContext,
): Finding[] {
  const allowed = new Set(shared);
  const internal = internalPipes(descriptors);
  return descriptors.flatMap((descriptor) => {
    if (allowed.has(descriptor.fd) || internal.has(descriptor.target)) return [];
    const judged = judge(binding, descriptor);
    if (judged === null) return [];
    const place = origins?.ofDescriptor(descriptor.fd) ?? null;
    return [{ severity: judged.severity, what: `${judged.what} (descriptor ${descriptor.fd})`, place }];
  });
}

/** Both ends here: libuv's own, for signals. */
function internalPipes(descriptors: readonly Descriptor[]): Set<string> {
  const count = new Map<string, number>();
  for (const { kind, target } of descriptors)
    if (kind === 'pipe') count.set(target, (count.get(target) ?? 0) + 1);
  return new Set([...count].filter(([, ends]) => ends > 1).map(([target]) => target));
}

type Judgement = { severity: Finding['severity']; what: string } | null;

function judge(binding: Binding, descriptor: Descriptor): Judgement {
  const { fd, kind, target, append, inherited } = descriptor;
  if (fd <= 2) return kind === 'device' ? null : { severity: 'note', what: `standard stream to ${target}` };
  switch (kind) {
    case 'private':
    case 'process':
      return null;
    case 'device':
      return /^\/dev\/(pts\/|tty)/.test(target) ? { severity: 'note', what: `terminal ${target}` } : null;
    case 'memory':
      return { severity: 'note', what: `shared memory ${target}` };
    case 'socket':
      return judgeSocket(binding, fd, inherited);
    case 'pipe':
      return inherited
        ? { severity: 'note', what: 'pipe open since the start' }
        : { severity: 'unsafe', what: 'an open pipe' };
    case 'file':
      if (append) return { severity: 'note', what: `file open for append ${target}` };
      if (inherited) return { severity: 'note', what: `file open since the start ${target}` };
      return { severity: 'unsafe', what: `an open file, ${target}, whose position would be shared` };
    case 'other':
      return { severity: 'unsafe', what: `a descriptor of kind ${target}` };
  }
}

function judgeSocket(binding: Binding, fd: number, inherited: boolean): Judgement {
  const name = binding.sockname(fd);
  if (typeof name === 'number') return { severity: 'unsafe', what: 'an open socket' };
  const where = name.family === 'unix' ? name.address : `${name.address}:${name.port}`;
  const type = name.family === 'unix' ? 'Unix' : name.type === 'dgram' ? 'UDP' : 'TCP';
  if (name.listening) return { severity: 'note', what: `${type} socket listening on ${where}` };
  if (inherited) return { severity: 'note', what: `${type} socket open since the start` };
  return {
    severity: 'unsafe',
    what: `an open ${type} socket${where === '' ? '' : `, local address ${where}`}`,
  };
}

/** Handles, not requests: what getActiveResourcesInfo() lists besides. */
const HANDLES =
  /^(TCPSocketWrap|TCPServerWrap|TCPWrap|PipeWrap|PipeServerWrap|TTYWrap|UDPWrap|ProcessWrap|FSEventWrap|StatWatcher|SignalWrap|Timeout|Immediate|MessagePort|Worker|CloseReq)$/;

/** The same, as async_hooks has them. */
const REQUESTS = /REQ(UEST|CALLBACK|PROMISE|WRAP)?$|REQWRAP|JOB$|WRITEWRAP|SHUTDOWNWRAP|CONNECTWRAP/;

function requestFindings(binding: Binding, live: readonly LiveResource[]): Finding[] {
  const count = binding.activeRequests();
  if (count === 0) return [];
  const named = live.filter(({ type }) => REQUESTS.test(type));
  if (named.length > 0)
    return named.map(({ type, place }) => ({ severity: 'unsafe', what: `work under way, ${type}`, place }));
  const types = process.getActiveResourcesInfo().filter((type) => !HANDLES.test(type));
  const what = `${count} operation${count === 1 ? '' : 's'} under way${types.length === 0 ? '' : `: ${types.join(', ')}`}`;
  return [{ severity: 'unsafe', what, place: null }];
}

function threadFindings(
  descriptors: readonly Descriptor[],
  live: readonly LiveResource[],
  knowsWorkers: boolean,
): Finding[] {
  const workers = live.filter(({ type }) => type === WORKER);
  const others = loopsBesidesNodes(descriptors) - workers.length;
  const named = workers.map(
    ({ place }): Finding => ({ severity: 'unsafe', what: 'a thread of worker_threads', place }),
  );
  if (others <= 0) return named;
  // An addon's comes along into the child, with an epoll instance of its own. One of worker_threads would be named.
  const what = `${others} thread${others === 1 ? '' : 's'} with an event loop${knowsWorkers ? ' in an addon' : ''}`;
  return [...named, { severity: knowsWorkers ? 'note' : 'unsafe', what, place: null }];
}

/** By their threads, and by what they wait on: a thread that is busy is in no call, and one that starts may not have come to it. */
function loopsBesidesNodes(descriptors: readonly Descriptor[]): number {
  const instances = epollInstances(descriptors);
  return Math.max(threadsWithLoops() - NODE_LOOP_THREADS, instances - NODE_EPOLL_INSTANCES);
}

/** Node's scheduler of delayed tasks. */
const NODE_LOOP_THREADS = 1;
/** That one's, the main thread's, and the one for traces, which has a thread only while there are any. */
const NODE_EPOLL_INSTANCES = 3;

/** Without those that another one watches: they are part of its loop. */
function epollInstances(descriptors: readonly Descriptor[]): number {
  const instances = descriptors.filter(({ target }) => target === 'anon_inode:[eventpoll]');
  const watched = new Set(instances.flatMap(({ fd }) => watchedBy(fd)));
  return instances.filter(({ fd }) => !watched.has(fd)).length;
}

const EPOLL_CALLS = process.arch === 'arm64' ? new Set([22, 441]) : new Set([232, 281, 441]);

function threadsWithLoops(): number {
  const waits = readdirSync('/proc/self/task').filter((tid) => {
    try {
      return EPOLL_CALLS.has(Number.parseInt(readFileSync(`/proc/self/task/${tid}/syscall`, 'latin1'), 10));
    } catch {
      return false;
    }
  });
  return waits.length;
}

function inspectorFindings(sessions: readonly (string | null)[]): Finding[] {
  const url = inspector.url();
  const open: Finding[] =
    url === undefined
      ? []
      : [{ severity: 'unsafe', what: `the inspector, which listens on ${url}`, place: null }];
  const what = 'a session of the inspector';
  return [...open, ...sessions.map((place): Finding => ({ severity: 'unsafe', what, place }))];
}

function timerFindings(): Finding[] {
  const timers = process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length;
  if (timers === 0) return [];
  return [
    {
      severity: 'note',
      what: `${timers} timer${timers === 1 ? '' : 's'}, which will run in every worker`,
      place: null,
    },
  ];
}
