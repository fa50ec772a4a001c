/** What the addon's waits return. */

/** What a child used, from wait4(2) or waitid(2). Times in milliseconds, sizes in bytes. */
export interface Rusage {
  userMs: number;
  systemMs: number;
  maxRssBytes: number;
  minorFaults: number;
  majorFaults: number;
  voluntaryContextSwitches: number;
  involuntaryContextSwitches: number;
}

/** `status` is the raw wait status, as `$?` in Perl. */
export interface NativeWaitResult {
  pid: number;
  status: number;
  rusage: Rusage;
}

/** The same as a list, in this order: between C++ and JavaScript it takes a fraction of the time that an object takes. */
export type WaitNumbers = readonly [
  pid: number,
  status: number,
  userMs: number,
  systemMs: number,
  maxRssBytes: number,
  minorFaults: number,
  majorFaults: number,
  voluntaryContextSwitches: number,
  involuntaryContextSwitches: number,
];

export function waitResult(numbers: WaitNumbers): NativeWaitResult {
  return {
    pid: numbers[0],
    status: numbers[1],
    rusage: {
      userMs: numbers[2],
      systemMs: numbers[3],
      maxRssBytes: numbers[4],
      minorFaults: numbers[5],
      majorFaults: numbers[6],
      voluntaryContextSwitches: numbers[7],
      involuntaryContextSwitches: numbers[8],
    },
  };
}
