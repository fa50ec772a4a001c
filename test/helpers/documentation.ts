/** What README.md and docs/ tell a reader to type: the commands, and the programs in fenced blocks. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './service';

export interface Block {
  readonly page: string;
  readonly lines: readonly string[];
}

export interface Program {
  readonly page: string;
  readonly language: string;
  readonly code: string;
}

export const pages: readonly string[] = [
  'README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => `docs/${name}`),
];

/** Words that begin a command in running text; there other tools are spoken of rather than typed. */
const INLINE = /^(?:npx|prefork|start_server|npm|node|kill|curl|echo|systemctl) /;

const read = (page: string): string => readFileSync(join(root, page), 'utf8');
const FENCED = /^```(\w*)\n([\s\S]*?)^```$/gm;

export function programsOf(page: string): Program[] {
  return [...read(page).matchAll(FENCED)].map(([, language = '', code = '']) => ({ page, language, code }));
}

/** Indented blocks: lines of four spaces or more, without what is in fences. */
export function blocksOf(page: string): Block[] {
  const blocks: string[][] = [];
  let open = false;
  for (const line of read(page).replace(FENCED, '').split('\n')) {
    const indented = line.startsWith('    ');
    if (indented && !open) blocks.push([]);
    if (indented) blocks.at(-1)!.push(line.slice(4));
    open = indented;
  }
  return blocks.map((lines) => ({ page, lines }));
}

/** A line without its prompt, and without what is said of it behind two spaces or a `#`. */
export function commandIn(line: string): string {
  return line
    .replace(/^\$ /, '')
    .replace(/ +# .*$/, '')
    .replace(/(\S) {2,}(?=[-[])/g, '$1 ')
    .replace(/(\S) {2,}.*$/, '$1')
    .trim();
}

/** Commands in running text and in tables, without repetitions. `prefork reload` alone speaks of a command and is in it, too. */
export function inlineCommandsOf(page: string): string[] {
  const text = read(page)
    .replace(FENCED, '')
    .replace(/^ {4}.*$/gm, '');
  const spans = [...text.matchAll(/`([^`\n]+)`/g)].map(([, span = '']) => span);
  return [...new Set(spans.filter((span) => INLINE.test(span)))];
}
