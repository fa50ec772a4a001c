/** The JavaScript stack of a process whose main thread does not answer, by its inspector. */
import { get } from 'node:http';
import { WebSocketClient } from './web-socket';

/** Innermost first, as in an Error's stack: `spin (/app/server.js:3:5)`. */
export type Stack = readonly string[];

/** More tell no more of where it is. */
const MAX_FRAMES = 20;
const MAX_LIST_BYTES = 65_536;

interface InspectorMessage {
  readonly method?: string;
  readonly params?: {
    readonly scriptId?: string;
    readonly url?: string;
    readonly callFrames?: readonly CallFrame[];
  };
}

interface CallFrame {
  readonly functionName: string;
  readonly url?: string;
  readonly location: {
    readonly scriptId: string;
    readonly lineNumber: number;
    readonly columnNumber?: number;
  };
}

/**
 * Pauses what runs there, notes where, and lets it go on.
 *
 * @param port of its inspector on 127.0.0.1
 * @param signal ends the wait: a main thread that is in a system call is paused only when it comes back from it
 */
export async function pausedStack(port: number, signal: AbortSignal): Promise<Stack> {
  const url = await debuggerUrl(port, signal);
  const urls = new Map<string, string>();
  let client: WebSocketClient | undefined;
  try {
    return await new Promise<Stack>((resolve, reject) => {
      const onMessage = (text: string): void => {
        const { method, params = {} } = JSON.parse(text) as InspectorMessage;
        if (method === 'Debugger.scriptParsed') urls.set(params.scriptId ?? '', params.url ?? '');
        if (method === 'Debugger.paused') resolve(stackOf(params.callFrames ?? [], urls));
      };
      const onEnd = (): void => reject(new Error('the inspector ended the connection'));
      WebSocketClient.connect(url, signal, onMessage, onEnd).then((connected) => {
        client = connected;
        for (const [index, method] of ['Debugger.enable', 'Debugger.pause'].entries()) {
          connected.send(JSON.stringify({ id: index + 1, method }));
        }
      }, reject);
    });
  } finally {
    // With its last client gone, it goes on by itself.
    client?.close();
  }
}

function stackOf(frames: readonly CallFrame[], urls: ReadonlyMap<string, string>): Stack {
  return frames.slice(0, MAX_FRAMES).map(({ functionName, url, location }) => {
    const { scriptId, lineNumber, columnNumber = 0 } = location;
    const file = (url || urls.get(scriptId) || '<anonymous>').replace(/^file:\/\//, '');
    const place = `${file}:${lineNumber + 1}:${columnNumber + 1}`;
    return functionName === '' ? place : `${functionName} (${place})`;
  });
}

/** Asks the inspector for the address of its one target. */
function debuggerUrl(port: number, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get({ host: '127.0.0.1', port, path: '/json/list', signal, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (more: string) => {
        text += more;
        if (text.length > MAX_LIST_BYTES) response.destroy();
      });
      response.once('error', reject);
      response.once('end', () => {
        const url = /"webSocketDebuggerUrl": "(ws:\/\/127\.0\.0\.1:\d+\/[\w-]+)"/.exec(text)?.[1];
        if (url === undefined) reject(new Error('it is no inspector'));
        else resolve(url);
      });
    });
    request.once('error', reject);
  });
}
