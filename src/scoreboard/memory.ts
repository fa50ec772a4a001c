/** Memory that a manager shares with its workers. */
import type { Binding } from '../engine/binding';

/** The descriptor of zeroed memory that nobody can cut off under those who have mapped it, or −errno. */
export function sealedMemory(binding: Binding, name: string, bytes: number): number {
  const fd = binding.memfd(name, bytes);
  if (fd < 0) return fd;
  const sealed = binding.addSeals(fd, ['shrink', 'grow', 'seal']);
  if (sealed >= 0) return fd;
  // Unsealed, a worker could cut it and so end the manager by SIGBUS.
  binding.close(fd);
  return sealed;
}
