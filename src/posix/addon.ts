/** The addon, for functions that cannot do without. */
import { type Binding, loadBinding } from '../engine/binding';
import { PreforkError } from '../errors';
import { addonAdvice } from '../options/addon-advice';

/** @throws PreforkError `ERR_PREFORK_ADDON_MISSING` where it did not load, with the reason and what to do */
export function addon(): Binding {
  const { binding, reason } = loadBinding();
  if (binding !== null) return binding;
  throw new PreforkError(
    'ERR_PREFORK_ADDON_MISSING',
    `prefork/posix needs the addon, which did not load (${reason}). ${addonAdvice()}.`,
  );
}
