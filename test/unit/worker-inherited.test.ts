import { describe, expect, test } from 'vitest';
import { countRequest, onDrain, onReopenLogs, ready, retire, worker } from '../../src/worker';
import { listeners, serverPorts } from '../../src/worker/inherited';

describe('serverPorts()', () => {
  test.each([
    [undefined, {}],
    ['', {}],
    ['127.0.0.1:8080=3', { '127.0.0.1:8080': 3 }],
    ['8080=4;[::1]:81=5;/run/a=b.sock=6', { '8080': 4, '[::1]:81': 5, '/run/a=b.sock': 6 }],
    ['nonsense;x=;=3;y=-1;z=1e3;w=99999999', {}],
  ])('%s', (value, ports) => {
    expect(serverPorts({ SERVER_STARTER_PORT: value })).toEqual(ports);
  });
});

describe('listeners()', () => {
  test('none in a plain process', () => {
    expect(listeners({})).toEqual([]);
  });

  test('systemd: with names, with our pid only', () => {
    const env = { LISTEN_FDS: '2', LISTEN_FDNAMES: 'http:', LISTEN_PID: String(process.pid) };
    const expected = [
      { fd: 3, name: 'http', from: 'systemd' },
      { fd: 4, name: 'unknown', from: 'systemd' },
    ];
    expect(listeners(env)).toEqual(expected);
    expect(listeners({ ...env, LISTEN_PID: undefined })).toEqual(expected);
    expect(listeners({ ...env, LISTEN_PID: String(process.pid + 1) })).toEqual([]);
    expect(listeners({ ...env, LISTEN_FDS: '-1' })).toEqual([]);
  });

  test('each descriptor once, Server::Starter first', () => {
    const env = {
      SERVER_STARTER_PORT: '127.0.0.1:80=4',
      LISTEN_FDS: '2',
      EINHORN_FD_COUNT: '1',
      EINHORN_FD_0: '3',
    };
    expect(listeners(env)).toEqual([
      { fd: 4, name: '127.0.0.1:80', from: 'server-starter' },
      { fd: 3, name: 'unknown', from: 'systemd' },
    ]);
  });

  test('Einhorn, old and new, of our parent only', () => {
    const expected = [
      { fd: 5, name: '', from: 'einhorn' },
      { fd: 9, name: '', from: 'einhorn' },
    ];
    expect(listeners({ EINHORN_FDS: '5 9' })).toEqual(expected);
    const counted = { EINHORN_FD_COUNT: '2', EINHORN_FD_0: '5', EINHORN_FD_1: '9' };
    expect(listeners({ ...counted, EINHORN_MASTER_PID: String(process.ppid) })).toEqual(expected);
    expect(listeners({ ...counted, EINHORN_MASTER_PID: '1' })).toEqual([]);
  });
});

test('prefork/worker is harmless in a plain process', () => {
  expect({ ...worker }).toEqual({ isWorker: false, slot: null, workerId: null, generation: null });
  ready();
  retire('why not');
  countRequest(3);
  onDrain(() => {
    throw new Error('never');
  });
  onReopenLogs(() => {
    throw new Error('never');
  });
  expect(() => countRequest(-1)).toThrow(RangeError);
});
