/** The status of a service over its control socket, asked again until it says what is waited for. */
import { setTimeout as pause } from 'node:timers/promises';
import { ControlClient } from '../../src/control/client';
import type { Status } from '../../src/control/protocol';

/** Far above what anything takes. */
const LONG_MS = 45_000;
/** Few enough for the manager's limit. */
const BETWEEN_MS = 70;

export async function statusOf(control: string, memory = false): Promise<Status> {
  const client = await ControlClient.connect(control);
  try {
    return await client.ask({ do: 'status', memory });
  } finally {
    client.close();
  }
}

/** The first status that fits; throws with the last one that did not. */
export async function statusWhere(control: string, fits: (status: Status) => boolean): Promise<Status> {
  const client = await ControlClient.connect(control);
  try {
    for (const untilMs = Date.now() + LONG_MS; ; await pause(BETWEEN_MS)) {
      const status = await client.ask({ do: 'status' });
      if (fits(status)) return status;
      if (Date.now() > untilMs) throw new Error(`the status remains ${JSON.stringify(status, null, 1)}`);
    }
  } finally {
    client.close();
  }
}
