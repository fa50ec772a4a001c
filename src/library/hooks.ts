/** Calls into the program that uses the library: none of them may stop the loop that makes it. */
import { describe } from '../errors';

/** Why nothing came of a hook, for the log. */
export type Report = (problem: string) => void;

export interface HookBounds {
  /** 0: waits for ever */
  readonly timeoutMs: number;
  readonly report: Report;
}

/**
 * Calls a hook and waits for what it returns. One that throws or rejects is reported; one that is not done in time is
 * reported and left to itself. Never rejects.
 */
export async function runHook(
  name: string,
  hook: () => unknown,
  { timeoutMs, report }: HookBounds,
): Promise<void> {
  try {
    const result = hook();
    if (!isThenable(result)) return;
    const inTime = await within(result, timeoutMs);
    if (!inTime) report(`the hook ${name} is not done after ${timeoutMs} ms; it is no longer waited for`);
  } catch (error) {
    report(`the hook ${name} failed: ${describe(error)}`);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
}

/** false: it is not settled within that time; what becomes of it later is nobody's business. */
async function within(promise: PromiseLike<unknown>, timeoutMs: number): Promise<boolean> {
  const settled = Promise.resolve(promise).then(() => true);
  if (timeoutMs === 0) return settled;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, false);
  });
  try {
    return await Promise.race([settled, late]);
  } finally {
    clearTimeout(timer);
    settled.catch(() => {});
  }
}
