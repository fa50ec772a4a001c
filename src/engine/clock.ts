/** CLOCK_MONOTONIC in milliseconds: the same clock in every process, and over an execve(2) of this one. */
export function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
