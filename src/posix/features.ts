import type { Binding } from '../engine/binding';
import { addon } from './addon';

export type Features = ReturnType<Binding['features']>;

/**
 * What the running kernel can, found out by asking it, and the versions of C library and addon.
 * @platform Linux, macOS (untested)
 */
export function features(): Features {
  return addon().features();
}
