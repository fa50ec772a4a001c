/** What a terminal sends for a key, as its name. Pure. */

const SEQUENCES: Readonly<Record<string, string>> = {
  '\x1b[A': 'up',
  '\x1b[B': 'down',
  '\x1b[C': 'right',
  '\x1b[D': 'left',
  '\x1bOA': 'up',
  '\x1bOB': 'down',
  '\x1bOC': 'right',
  '\x1bOD': 'left',
  '\x1b[5~': 'pageup',
  '\x1b[6~': 'pagedown',
  '\x1b[H': 'home',
  '\x1b[F': 'end',
  '\x1b[1~': 'home',
  '\x1b[4~': 'end',
  '\x1b': 'escape',
  '\r': 'enter',
  '\n': 'enter',
  '\x7f': 'backspace',
  '\b': 'backspace',
  '\x03': 'ctrl-c',
  '\x1a': 'ctrl-z',
  '<': 'left',
  '>': 'right',
};

/** One sequence at the front: of a cursor key, alone, or a character. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: terminals send them
const FIRST = /^(?:\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]|.)/su;

/** The keys in what was read at once; what is no key that is known is left out. */
export function keysOf(input: string): string[] {
  const keys: string[] = [];
  for (let rest = input; rest !== ''; ) {
    const sequence = FIRST.exec(rest)![0];
    rest = rest.slice(sequence.length);
    const key = SEQUENCES[sequence] ?? sequence;
    if (key.length > 1 ? SEQUENCES[sequence] !== undefined : key >= ' ') keys.push(key);
  }
  return keys;
}
