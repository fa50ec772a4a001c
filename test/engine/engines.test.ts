import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { execPath } from 'node:process';
import { loadBinding } from '../../src/engine/binding';
import { nowMs } from '../../src/engine/clock';
import { JsEngine } from '../../src/engine/js';
import { NativeEngine } from '../../src/engine/native';
import { SIM_FILE, SimEngine } from '../sim/engine';
import type { Program } from '../sim/kernel';
import { engineContract } from './contract';

const child = join(__dirname, '..', 'fixtures', 'contract-child.js');
const real = {
  command: (program: Program) => ({ file: execPath, args: [execPath, child, JSON.stringify(program)] }),
  missing: '/nonexistent/program',
  now: nowMs,
  occupy: async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { port: (server.address() as AddressInfo).port, release: () => void server.close() };
  },
};

engineContract('js', () => ({ ...real, engine: new JsEngine() }));

const { binding, reason } = loadBinding();
if (binding === null) throw new Error(`the addon is needed for this suite: ${reason}`);
engineContract('native', () => ({ ...real, engine: new NativeEngine(binding) }));

engineContract('simulated', () => {
  const engine = new SimEngine();
  return {
    engine,
    command: (program) => ({ file: SIM_FILE, args: [SIM_FILE, JSON.stringify(program)] }),
    missing: '/nonexistent/program',
    now: () => engine.agenda.now,
    occupy: async () => {
      const result = engine.listen({
        kind: 'tcp',
        address: '127.0.0.1',
        port: 0,
        backlog: 1,
        reusePort: false,
        ipv6Only: false,
      });
      if (!('listener' in result)) throw new Error(result.code);
      return { port: result.listener.port, release: () => engine.closeListener(result.listener) };
    },
  };
});
