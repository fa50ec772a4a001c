/** Figures of a service in words, the same for every command. */
import type { ExitStatus } from '../control/protocol';

export const mebibytes = (bytes: number): string => `${Math.round(bytes / 1_048_576)}M`;

export function lastExit(exit: ExitStatus | null): string {
  return exit === null ? '-' : `${exit.how}${exit.expected ? ' as asked' : ''}, ${age(exit.agoMs)} ago`;
}

/** `42s`, `3m 5s`, `2h 10m`, `4d 3h`: the two largest units. */
export function age(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const units = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ] as const;
  const first = units.findIndex(([count]) => count > 0);
  if (first < 0) return '0s';
  return units
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join(' ');
}
