/** Where in the program a listen(0) stands: it tells several of them apart, in every worker and generation alike. */
import { dirname, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const FRAMES = 100;
const ordinals = new Map<string, number>();

/** `server.js:12:8#1`: the first frame of the program's own, or of a package where there is none, and how often it was here. */
export function nextCallSite(): string {
  const site = callSite(stackFiles());
  const ordinal = (ordinals.get(site) ?? 0) + 1;
  ordinals.set(site, ordinal);
  return `${site}#${ordinal}`;
}

interface Frame {
  file: string;
  position: string;
}

function callSite(frames: readonly Frame[]): string {
  const own = frames.find(({ file }) => !file.includes(`${sep}node_modules${sep}`)) ?? frames[0];
  return own === undefined ? 'unknown' : `${fromEntry(own.file)}:${own.position}`;
}

/** Relative to the entry, so that a release in another directory keeps its ports. */
function fromEntry(file: string): string {
  const entry = process.argv[1];
  return entry === undefined ? file : relative(dirname(entry), file);
}

/** The frames outside Node and this hook, innermost first. */
function stackFiles(): Frame[] {
  const { prepareStackTrace, stackTraceLimit } = Error;
  try {
    Error.stackTraceLimit = FRAMES;
    Error.prepareStackTrace = (_error, sites) => sites;
    const { stack } = new Error() as unknown as { stack: readonly NodeJS.CallSite[] };
    return stack.flatMap((site) => {
      const name = site.getFileName();
      if (name === null || name === undefined || name.startsWith('node:') || name === __filename) return [];
      const file = name.startsWith('file:') ? fileURLToPath(name) : name;
      if (dirname(file) === __dirname) return [];
      return [{ file, position: `${site.getLineNumber()}:${site.getColumnNumber()}` }];
    });
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
    Error.stackTraceLimit = stackTraceLimit;
  }
}
