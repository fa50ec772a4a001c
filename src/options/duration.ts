/** Durations as people write them: `500ms`, `10s`, `5m`, `1h`, `2d`, and a bare number of seconds. */
import { type Parsed, parsed, refused } from './result';

/** 2^31 − 1 ms, about 24.8 days: the longest that a timer can wait. */
export const MAX_DURATION_MS = 2_147_483_647;

const MS_PER_UNIT: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/**
 * Reads a duration into milliseconds: 0 to {@link MAX_DURATION_MS}, whole.
 * A number, or text without a unit, is seconds; fractions are fine as long as whole milliseconds come out.
 */
export function parseDuration(input: string | number): Parsed<number> {
  const match = /^(\d{1,15}(?:\.\d{1,9})?)(ms|s|m|h|d)?$/.exec(
    typeof input === 'number' ? plain(input) : input.trim(),
  );
  if (!match) {
    return refused('is not a duration');
  }
  const exact = Number(match[1]) * MS_PER_UNIT[match[2] ?? 's']!;
  if (exact > MAX_DURATION_MS) {
    return refused(`is longer than ${formatDuration(MAX_DURATION_MS)}`);
  }
  const ms = Math.round(exact);
  // Binary fractions: 1.1 s is 1100.0000000000002 ms.
  return Math.abs(exact - ms) < 1e-6 ? parsed(ms) : refused('is not a whole number of milliseconds');
}

/** The shortest text without a fraction that {@link parseDuration} reads back as `ms`. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's']) {
    const size = MS_PER_UNIT[unit]!;
    if (ms >= size && ms % size === 0) {
      return `${ms / size}${unit}`;
    }
  }
  return ms === 0 ? '0s' : `${ms}ms`;
}

/** Without the exponent that very small and very large numbers print with. */
function plain(value: number): string {
  return Number.isFinite(value) && Math.abs(value) < 1e15 ? String(Number(value.toFixed(9))) : '';
}
