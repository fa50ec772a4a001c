/** How far a service has come, on a line of the terminal that is written over; nothing where there is no terminal. */
import { ControlClient } from '../control/client';
import type { Status } from '../control/protocol';
import { age } from './format';

/** Often enough to the eye, and well below what the control socket allows. */
const LOOK_MS = 250;

export class ProgressLine {
  readonly #output: NodeJS.WriteStream;
  readonly #visible: boolean;
  #shown = false;

  constructor(output: NodeJS.WriteStream = process.stderr) {
    const { TERM } = process.env;
    this.#output = output;
    this.#visible = output.isTTY === true && TERM !== undefined && TERM !== '' && TERM !== 'dumb';
  }

  get visible(): boolean {
    return this.#visible;
  }

  show(text: string): void {
    if (!this.#visible) return;
    this.#shown = true;
    // Wrapped, it could not be written over.
    this.#output.write(`\r${text.slice(0, Math.max(0, (this.#output.columns || 80) - 1))}\x1b[K`);
  }

  /** Before anything else is printed. */
  clear(): void {
    if (this.#shown) this.#output.write('\r\x1b[K');
    this.#shown = false;
  }
}

/**
 * Does the work, and meanwhile shows what `describe` makes of the service's status, as far as it can be had.
 * `control`: null where there is no socket to ask at.
 */
export async function withProgress<T>(
  line: ProgressLine,
  control: string | null,
  describe: (status: Status | null) => string,
  work: () => Promise<T>,
): Promise<T> {
  if (!line.visible) return work();
  const beganAt = performance.now();
  let client: ControlClient | null = null;
  let asking = false;
  let done = false;
  const look = async (): Promise<void> => {
    if (asking) return;
    asking = true;
    const status = await statusFrom(control).catch(() => null);
    asking = false;
    if (!done) line.show(`${describe(status)}, ${age(performance.now() - beganAt)}`);
  };
  const statusFrom = async (path: string | null): Promise<Status | null> => {
    if (path === null) return null;
    client ??= await ControlClient.connect(path);
    return client.ask({ do: 'status' }).catch((error: unknown) => {
      client?.close();
      client = null;
      throw error;
    });
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  try {
    return await work();
  } finally {
    done = true;
    clearInterval(timer);
    (client as ControlClient | null)?.close();
    line.clear();
  }
}

export function describeStart(status: Status | null): string {
  if (status === null) return 'starting';
  return `starting: ${status.workersReady} of ${status.workersWanted} workers ready`;
}

export function describeStop(status: Status | null): string {
  if (status === null) return 'stopping';
  const { length } = status.workers;
  return `stopping: ${length} ${length === 1 ? 'worker' : 'workers'} left`;
}

export function describeReload(status: Status | null): string {
  if (status === null || status.nextGeneration === null) return 'reloading';
  const { nextGeneration, workers, workersWanted } = status;
  const fresh = workers.filter(({ generation }) => generation === nextGeneration);
  const ready = fresh.filter(({ state }) => state === 'ready').length;
  return `generation ${nextGeneration}: ${ready} of ${workersWanted} workers ready`;
}
