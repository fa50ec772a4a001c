/** Where log lines go: written before `write` returns, and never the end of the manager when they cannot be. */
import { closeSync, openSync, writeSync } from 'node:fs';

/** Permission bits of a new log file, before the umask. */
const LOG_FILE_MODE = 0o640;
/** 1 MiB: lines held at most while the destination takes none; further ones are lost, and counted. */
const MAX_HELD_BYTES = 1_048_576;
/** A full pipe that does not block is tried again every 10 ms, … */
const BUSY_PAUSE_MS = 10;
/** … but in any 10 s not for more than half a second in all: the workers need the manager too. */
const BUSY_WINDOW_MS = 10_000;
const MAX_BUSY_PAUSES = 50;

export class LogSink {
  #fd: number;
  readonly file: string | null;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #lost = 0;
  #readerLeft = false;
  #pauses = 0;
  #windowStart = 0;

  /** @param destination an open descriptor, or a file that is appended to; throws the system's error when it cannot be opened */
  constructor(destination: number | string) {
    this.file = typeof destination === 'string' ? destination : null;
    this.#fd = typeof destination === 'string' ? openFile(destination) : destination;
  }

  get fd(): number {
    return this.#fd;
  }

  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#readerLeft || this.#heldBytes + bytes.length > MAX_HELD_BYTES) {
      this.#lost++;
    } else {
      this.#held.push(bytes);
      this.#heldBytes += bytes.length;
    }
    this.#flush();
  }

  /** Opens the file by its name again; a descriptor stays. Throws the system's error and goes on with the old file when that fails. */
  reopen(): void {
    if (this.file !== null) {
      const fd = openFile(this.file);
      closeSync(this.#fd);
      this.#fd = fd;
      this.#flush();
    }
  }

  /** How many lines were lost since the last call; 0 as long as the destination takes none, so that it can be told there. */
  takeLost(): number {
    const lost = this.#heldBytes === 0 && !this.#readerLeft ? this.#lost : 0;
    this.#lost -= lost;
    return lost;
  }

  #flush(): void {
    while (this.#held.length > 0) {
      const line = this.#held[0]!;
      const written = this.#tryWrite(line);
      if (written === null) {
        return;
      }
      this.#heldBytes -= written;
      if (written === line.length) {
        this.#held.shift();
      } else {
        this.#held[0] = line.subarray(written);
      }
    }
  }

  /** Bytes written, or null when the destination takes none for now. */
  #tryWrite(bytes: Buffer): number | null {
    for (;;) {
      try {
        return writeSync(this.#fd, bytes);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EPIPE') {
          this.#readerLeft = true;
          this.#held = [];
          this.#heldBytes = 0;
          return null;
        }
        if (code !== 'EAGAIN' || !this.#pause()) {
          return null;
        }
      }
    }
  }

  /** Waits a moment; false when there was enough waiting. */
  #pause(): boolean {
    const now = performance.now();
    if (now - this.#windowStart > BUSY_WINDOW_MS) {
      this.#windowStart = now;
      this.#pauses = 0;
    }
    if (this.#pauses === MAX_BUSY_PAUSES) {
      return false;
    }
    this.#pauses++;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_PAUSE_MS);
    return true;
  }
}

function openFile(file: string): number {
  return openSync(file, 'a', LOG_FILE_MODE);
}
