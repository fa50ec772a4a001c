/** The known name that a mistyped one was most likely meant to be. */

/** At most this many single-character edits, and fewer than half of the name. */
const MAX_EDITS = 3;

/** Compares without case, `-` and `_`, so that `graceful_timeout` finds `gracefulTimeout`. null when nothing is near. */
export function nearest(name: string, known: Iterable<string>): string | null {
  const wanted = fold(name).slice(0, 64);
  let best: string | null = null;
  let bestEdits = Math.min(MAX_EDITS, Math.floor((wanted.length - 1) / 2)) + 1;
  for (const candidate of known) {
    const folded = fold(candidate);
    const edits = wanted.length > 3 && folded.startsWith(wanted) ? 1 : editDistance(wanted, folded);
    if (edits < bestEdits) {
      best = candidate;
      bestEdits = edits;
    }
  }
  return best;
}

function fold(name: string): string {
  return name.toLowerCase().replace(/[-_]/g, '');
}

/** Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let edits = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        edits = Math.min(edits, beforeLast[j - 2]! + 1);
      }
      row.push(edits);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
