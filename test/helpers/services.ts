/** Services of a test and a directory for their files; both gone when it has ended. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { type EngineName, Service, type StartOptions } from './service';

export interface Services {
  /** of the test that runs */
  readonly directory: string;
  start(args: readonly string[], options?: StartOptions): Service;
}

/** For a describe block or a file. `before` goes before the arguments of each start. */
export function useServices(engine: EngineName, before: readonly string[] = []): Services {
  let services: Service[];
  let directory: string;
  beforeEach(() => {
    services = [];
    directory = mkdtempSync(join(tmpdir(), 'prefork-'));
  });
  afterEach(async () => {
    for (const service of services) await service.dispose();
    rmSync(directory, { recursive: true });
  });
  return {
    get directory() {
      return directory;
    },
    start(args, options = {}) {
      const service = Service.start([...before, ...args], { engine, ...options });
      services.push(service);
      return service;
    },
  };
}
