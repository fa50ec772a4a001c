import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { defaultPolicy } from '../../src/core/policy';
import { initialState } from '../../src/core/state';
import { errnoNumber } from '../../src/engine/errno';
import type { Log } from '../../src/manager/log';
import { Notifier } from '../../src/notify/notifier';
import { ServiceManagerLink, watchdogMs } from '../../src/notify/service-manager';

const state = initialState(defaultPolicy, 0, 1);

describe('life signs', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('are given by a turn of the loop, not by the timer', () => {
    const send = vi.fn<(...assignments: string[]) => void>();
    const post = vi.fn<() => void>();
    const link = new ServiceManagerLink({ send, close: () => {} }, post, { WATCHDOG_USEC: '2000000' });
    link.turn(state);
    send.mockClear();
    vi.advanceTimersByTime(999);
    link.turn(state);
    expect(post).not.toHaveBeenCalled();
    // The loop hangs: it is asked again and again, and nothing is said.
    vi.advanceTimersByTime(10_000);
    expect(post.mock.calls.length).toBeGreaterThan(5);
    expect(send).not.toHaveBeenCalled();
    link.turn(state);
    link.turn(state);
    expect(send.mock.calls).toEqual([['WATCHDOG=1']]);
    link.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it.each([
    [{}, null],
    [{ WATCHDOG_USEC: '' }, null],
    [{ WATCHDOG_USEC: '0' }, null],
    [{ WATCHDOG_USEC: '-5' }, null],
    [{ WATCHDOG_USEC: 'often' }, null],
    [{ WATCHDOG_USEC: '30000000' }, 30_000],
    [{ WATCHDOG_USEC: '30000000', WATCHDOG_PID: String(process.pid) }, 30_000],
    [{ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '1' }, null],
  ])('%o wants one every %s ms', (env, ms) => expect(watchdogMs(env)).toBe(ms));
});

describe('a service manager whose queue is full', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('hears everything later, in order, and the newest where it was too much', () => {
    let full = true;
    const heard: string[] = [];
    const sendUnixDatagram = (_path: string, text: string): number => {
      if (full) return errnoNumber('EAGAIN');
      heard.push(text);
      return text.length;
    };
    const notifier = Notifier.fromEnvironment({ sendUnixDatagram }, {} as Log, { NOTIFY_SOCKET: '/x' })!;
    for (let count = 1; count <= 40; count++) notifier.send(`STATUS=${count}`, 'A=line\nbreak');
    vi.advanceTimersByTime(1000);
    expect(heard).toEqual([]);
    full = false;
    vi.advanceTimersByTime(1000);
    expect(heard).toHaveLength(32);
    expect(heard[0]).toBe('STATUS=9\nA=line break');
    expect(heard.at(-1)).toContain('STATUS=40');
    expect(vi.getTimerCount()).toBe(0);
  });
});
