/** What the parsers return: a value, or why there is none, in words that follow the value: `is not a duration`. */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string };

export function parsed<T>(value: T): Parsed<T> {
  return { ok: true, value };
}

export function refused(reason: string): { readonly ok: false; readonly reason: string } {
  return { ok: false, reason };
}

/** Longest part of a user's value that is repeated in an error. */
const MAX_QUOTED_CHARS = 80;

/** A value as it is shown in errors: JSON, shortened. */
export function quote(value: unknown): string {
  if (value === undefined) {
    return 'nothing';
  }
  const text = toText(value);
  return text.length > MAX_QUOTED_CHARS ? `${text.slice(0, MAX_QUOTED_CHARS)}…` : text;
}

/** JSON has no text for some values, and none for an object that is too deep. */
function toText(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return typeof value === 'object' ? 'an object that cannot be shown' : String(value);
  }
}
