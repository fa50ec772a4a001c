/** Copies of this tree's build as releases behind a symbolic link, as deployments lay them out. */
import {
  cpSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { root } from './service';

export class Releases {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The command's script, through the link to the current release. */
  get cli(): string {
    return join(this.#directory, 'current', 'dist', 'cli', 'prefork.js');
  }

  /** Adds a release and links it. `edits`: file → [what is there, what stands there instead]. */
  deploy(name: string, edits: Readonly<Record<string, readonly [string, string]>> = {}): void {
    const release = join(this.#directory, name);
    mkdirSync(release);
    for (const part of ['dist', 'package.json']) {
      cpSync(join(root, part), join(release, part), { recursive: true });
    }
    // The addon is a file of the release; what it depends on is installed once.
    cpSync(join(root, 'build', 'Release', 'prefork.node'), join(release, 'build', 'Release', 'prefork.node'));
    symlinkSync(join(root, 'node_modules'), join(release, 'node_modules'));
    for (const [file, [before, after]] of Object.entries(edits)) {
      const path = join(release, file);
      const text = readFileSync(path, 'utf8');
      if (!text.includes(before)) throw new Error(`${file} has no ${before}`);
      writeFileSync(path, text.replace(before, after));
    }
    this.switchTo(name);
  }

  /** In one step, as a deployment does. */
  switchTo(name: string): void {
    const link = join(this.#directory, 'current');
    symlinkSync(name, `${link}.next`);
    renameSync(`${link}.next`, link);
  }

  remove(name: string): void {
    if (readlinkSync(join(this.#directory, 'current')) === name)
      throw new Error(`${name} is the current release`);
    rmSync(join(this.#directory, name), { recursive: true });
  }
}
