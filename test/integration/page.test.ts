import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { afterEach, describe, expect, it } from 'vitest';
import { fixture, root, Service } from '../helpers/service';

const CHROMIUM = '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const PICTURES = join(root, 'test-results');

let service: Service | null = null;
const pages: AbortController[] = [];

afterEach(async () => {
  for (const page of pages.splice(0)) page.abort();
  await service?.dispose();
  service = null;
});

async function start(): Promise<{ service: Service; url: string; pids: number[] }> {
  service = Service.start(['--metrics', '127.0.0.1:0', '-w', '2', fixture('metrics.cjs')]);
  const url = String((await service.event('metrics')).address);
  const { pids } = await service.serving();
  return { service, url, pids };
}

describe('the live page', () => {
  it('is one document, under a policy that allows itself and nothing else', async () => {
    const { service, url } = await start();
    const response = await fetch(url);
    const policy = response.headers.get('content-security-policy')!;
    expect(policy).toMatch(/^default-src 'none'; script-src 'sha256-\S+'; style-src 'sha256-\S+';/);
    expect(await response.text()).not.toMatch(/https?:\/\/|(src|href)=/);
    expect((await service.stop()).code).toBe(0);
  });

  it('has eight readers at most', async () => {
    const { service, url } = await start();
    const open = (): Promise<Response> => {
      const page = new AbortController();
      pages.push(page);
      return fetch(`${url}/events`, { signal: page.signal });
    };
    for (let i = 0; i < 8; i++) expect((await open()).status).toBe(200);
    expect((await open()).status).toBe(503);
    // They do not keep the manager.
    expect((await service.stop()).code).toBe(0);
  });

  it.skipIf(!existsSync(CHROMIUM))(
    `shows in a browser what happens, light, dark and on a phone (needs ${CHROMIUM})`,
    async () => {
      const { service, url, pids } = await start();
      mkdirSync(PICTURES, { recursive: true });
      const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
      try {
        const page = await browser.newPage({ viewport: { width: 1100, height: 800 } });
        const complaints: string[] = [];
        page.on('console', (message) => complaints.push(message.text()));
        page.on('pageerror', (error) => complaints.push(error.message));
        await page.goto(url);
        await page.locator('#rows tr').nth(1).waitFor();
        expect(await page.locator('#grid li').count()).toBe(2);
        process.kill(pids[0]!, 'SIGKILL');
        await page.getByText('was killed by SIGKILL and is replaced').waitFor();
        service.signal('SIGHUP');
        await page.getByText(/generation 2 serves after/).waitFor();
        await page.getByText(/^running, generation 2, 2 of 2 workers ready$/).waitFor();
        await page.screenshot({ path: join(PICTURES, 'page-light.png'), fullPage: true });
        await page.emulateMedia({ colorScheme: 'dark' });
        await page.setViewportSize({ width: 390, height: 800 });
        await page.screenshot({ path: join(PICTURES, 'page-phone-dark.png'), fullPage: true });
        // Only the table is wider than a phone, and it scrolls by itself.
        const overflow = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
        expect(await page.evaluate(overflow)).toBe(0);
        await page.keyboard.press('Tab');
        expect(await page.evaluate('document.activeElement.getAttribute("role")')).toBe('region');
        expect(complaints).toEqual([]);
      } finally {
        await browser.close();
      }
      expect((await service.stop()).code).toBe(0);
    },
  );
});
