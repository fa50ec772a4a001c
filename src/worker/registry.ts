/** The program's prom-client registry, sent when the manager asks: in parts, since a message has a bound. */
import type { Channel } from './channel';
import type { MetricsRegistry } from './runtime';

/** As JSON a character takes six bytes at most: quotes and backslashes two, all else is ASCII or escaped. */
const PART_CHARS = 10_000;

export class RegistryReporter {
  readonly #channel: Channel;
  readonly #registries: MetricsRegistry[] = [];

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  offer(registry: MetricsRegistry): void {
    this.#registries.push(registry);
    if (this.#registries.length === 1) this.#channel.send({ type: 'registry', seq: 0 });
  }

  /** Where there is none, or it fails, nothing is said: what was said last counts on. */
  async report(seq: number): Promise<void> {
    if (this.#registries.length === 0) return;
    try {
      const metrics = await Promise.all(this.#registries.map((each) => each.getMetricsAsJSON()));
      const text = JSON.stringify(metrics.flat());
      for (let at = 0; at < text.length; at += PART_CHARS) {
        const last = at + PART_CHARS >= text.length;
        this.#channel.send({ type: 'registry', seq, text: text.slice(at, at + PART_CHARS), last });
      }
    } catch (error) {
      process.emitWarning(
        `the metrics of this worker cannot be collected: ${String(error)}`,
        'PreforkWarning',
      );
    }
  }
}
