/** A manager inside a program that is not ours: no signal and no descriptor of the process is its own unless it was asked for. */
import type { Control } from '../control/control';
import type { Scoreboard } from '../scoreboard/row';
import type { Log } from './log';
import type { ManagerObserver } from './manager';

export interface Embedded {
  /** answers what the control socket could ask, once the loop runs */
  readonly control: Control;
  readonly log: Log;
  readonly board: Scoreboard;
}

export interface Embedding {
  readonly observer: ManagerObserver;
  /** Everything is there, and the first worker is not yet started: that waits for what this returns. */
  begins(inside: Embedded): Promise<void>;
}
