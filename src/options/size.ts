/** Sizes in bytes as people write them: `64k`, `512MiB`, `1GB`, and a bare number of bytes. */
import { type Parsed, parsed, refused } from './result';

/** 1 PiB: far above any machine, and exact in a double. */
export const MAX_SIZE_BYTES = 2 ** 50;

/** One letter and `…iB` are powers of 1024, as in nginx and systemd; `…B` are powers of 1000. */
const BYTES_PER_UNIT: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  tib: 1024 ** 4,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
};

/** Reads a size into bytes: 0 to {@link MAX_SIZE_BYTES}, whole. Units in either case; a number is bytes. */
export function parseSize(input: string | number): Parsed<number> {
  const match = /^(\d{1,16}(?:\.\d{1,9})?)\s?([kmgt]i?b?|b)?$/i.exec(String(input).trim());
  const unit = match ? BYTES_PER_UNIT[(match[2] ?? '').toLowerCase()] : undefined;
  if (!match || unit === undefined) {
    return refused('is not a size');
  }
  const exact = Number(match[1]) * unit;
  if (exact > MAX_SIZE_BYTES) {
    return refused(`is more than ${formatSize(MAX_SIZE_BYTES)}`);
  }
  const bytes = Math.round(exact);
  return Math.abs(exact - bytes) < 1e-6 ? parsed(bytes) : refused('is not a whole number of bytes');
}

/** The shortest text without a fraction that {@link parseSize} reads back as `bytes`. */
export function formatSize(bytes: number): string {
  for (const unit of ['TiB', 'GiB', 'MiB', 'KiB']) {
    const size = BYTES_PER_UNIT[unit.toLowerCase()]!;
    if (bytes >= size && bytes % size === 0) {
      return `${bytes / size}${unit}`;
    }
  }
  return String(bytes);
}
