/** xorshift32: the next number of a seed (never 0), and its share of 2^32. */
export function nextRandom(seed: number): { seed: number; share: number } {
  let x = seed >>> 0;
  x ^= x << 13;
  x >>>= 0;
  x ^= x >>> 17;
  x ^= x << 5;
  x >>>= 0;
  return { seed: x, share: x / 4_294_967_296 };
}
