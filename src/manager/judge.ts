/** Who hangs: pure, from the signs of life, the time, and when they were last looked at. */

export interface Pulse {
  readonly workerId: number;
  /** its last sign of life; 0: it has never given one, and need not */
  readonly heartbeatMs: number;
  /** it was busy starting before */
  readonly readyAtMs: number;
  /** silent for longer it hangs; 0: never */
  readonly timeoutMs: number;
}

export interface Look {
  readonly atMs: number;
  /** nobody is blamed for silence before */
  readonly graceFromMs: number;
}

export interface Verdict {
  readonly look: Look;
  /** nobody looked for so long, though somebody should have: the machine or this process stood still. null: not */
  readonly stalledMs: number | null;
  readonly silent: readonly { readonly workerId: number; readonly silentMs: number }[];
}

/** A timer of a busy machine may be late by so much. */
const LATE_MS = 1000;

/**
 * @param last null: the first look
 * @param intervalMs from one look to the next
 */
export function judge(
  pulses: readonly Pulse[],
  nowMs: number,
  last: Look | null,
  intervalMs: number,
): Verdict {
  const gapMs = last === null ? 0 : nowMs - last.atMs;
  const stalled = gapMs > 2 * intervalMs + LATE_MS;
  const graceFromMs = last === null || stalled ? nowMs : last.graceFromMs;
  const silent: { workerId: number; silentMs: number }[] = [];
  for (const { workerId, heartbeatMs, readyAtMs, timeoutMs } of pulses) {
    if (heartbeatMs <= 0 || timeoutMs <= 0) continue;
    if (nowMs - Math.max(heartbeatMs, readyAtMs, graceFromMs) <= timeoutMs) continue;
    silent.push({ workerId, silentMs: nowMs - heartbeatMs });
  }
  return { look: { atMs: nowMs, graceFromMs }, stalledMs: stalled ? gapMs : null, silent };
}
