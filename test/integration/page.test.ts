import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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

async function start(...args: string[]): Promise<{ service: Service; url: string; pids: number[] }> {
  service = Service.start(['--metrics', '127.0.0.1:0', '-w', '2', ...args, fixture('metrics.cjs')]);
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

describe.skipIf(!existsSync(CHROMIUM))(`the controls of the live page (need ${CHROMIUM})`, () => {
  const TOKEN = 'correct-horse-battery-staple';
  const OVERFLOW = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
  let browser: Browser;
  let page: Page;
  let directory: string;
  let complaints: string[];

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'prefork-'));
    writeFileSync(join(directory, 'token'), TOKEN, { mode: 0o600 });
    browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    page = await browser.newPage({ viewport: { width: 1100, height: 800 } });
    complaints = [];
    // Advice of the browser's ("Password field is not contained in a form") is no complaint: a form is what would have it saved.
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
  });
  afterEach(async () => {
    await browser.close();
    rmSync(directory, { recursive: true });
  });

  const open = async (): Promise<Service> => {
    const { service, url } = await start('--control-token', join(directory, 'token'));
    await page.goto(url);
    await page.locator('#rows tr').nth(1).waitFor();
    return service;
  };
  const button = (name: string) => page.getByRole('button', { name, exact: true });
  const token = () => page.getByLabel('Token', { exact: true });
  const workers = () => page.getByLabel('Workers', { exact: true });
  /** What is said of the last one, as a screen reader is told. */
  const says = (text: string | RegExp) => page.getByRole('status').filter({ hasText: text }).waitFor();
  /** The key goes to what has the focus, as somebody without a mouse comes there. */
  const tabTo = async (what: ReturnType<typeof button>): Promise<void> => {
    for (let presses = 0; presses < 20; presses++) {
      await page.keyboard.press('Tab');
      if (await what.evaluate((element) => element === element.ownerDocument.activeElement)) return;
    }
    throw new Error('the Tab key does not come there');
  };

  it('are not there without --control-token', async () => {
    const { service, url } = await start();
    await page.goto(url);
    await page.locator('#rows tr').nth(1).waitFor();
    expect(await page.getByRole('button').count()).toBe(0);
    expect(await page.locator('input').count()).toBe(0);
    expect((await service.stop()).code).toBe(0);
  });

  it('reload, scale and stop by click, with the right token only', async () => {
    const service = await open();
    await button('Reload').click();
    await says('Enter the token first.');
    await token().fill('not this one');
    await button('Reload').click();
    await says(/^Not done: /);
    const refused = await page.locator('#result').textContent();
    expect(refused).toMatch(/^Not done: [^.]*token[^.]*\.$/);
    expect(refused).not.toContain('not this one');
    expect(service.lines.some(({ event }) => event === 'rollout-started')).toBe(false);
    // The browser itself tells of the 401.
    expect(complaints.splice(0)).toEqual([expect.stringContaining('status of 401')]);

    await token().fill(TOKEN);
    await button('Reload').click();
    await says('Generation 2 serves.');
    await page.getByText(/^running, generation 2, 2 of 2 workers ready$/).waitFor();
    for (const wrong of ['', '0', '1025', '1.5']) {
      await workers().fill(wrong);
      await button('Scale').click();
      await says('Say how many workers, from 1 to 1024.');
    }
    await workers().fill('3');
    await button('Scale').click();
    await says('3 workers are wanted.');
    await page.locator('#grid li').nth(2).waitFor();
    await page.getByText(/3 of 3 workers ready$/).waitFor();
    await page.screenshot({ path: join(PICTURES, 'page-controls.png'), fullPage: true });

    // It is in its field alone, which hides it.
    expect(await token().getAttribute('type')).toBe('password');
    expect(page.url()).not.toContain(TOKEN);
    const kept =
      '[JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie, location.href]';
    expect(await page.evaluate(kept)).toEqual(['{}', '{}', '', page.url()]);
    expect(await page.evaluate('document.documentElement.outerHTML')).not.toContain(TOKEN);

    await button('Stop').click();
    await button('Keep it running').click();
    expect(await button('Stop the service').isVisible()).toBe(false);
    await button('Stop').click();
    expect(complaints).toEqual([]);
    await button('Stop the service').click();
    await says('The service stops.');
    expect(await service.exited).toEqual({ code: 0, signal: null });
    await says('no connection to the manager; trying again');
    await page.reload().catch(() => {});
    expect(service.errors).not.toContain(TOKEN);
  });

  it('do so from the keyboard, on a phone too', async () => {
    await page.setViewportSize({ width: 320, height: 640 });
    const service = await open();
    expect(await page.evaluate(OVERFLOW)).toBe(0);
    await tabTo(token());
    await page.keyboard.type(TOKEN);
    await tabTo(button('Reload'));
    await page.keyboard.press('Enter');
    await says('Generation 2 serves.');
    await tabTo(workers());
    await page.keyboard.press('Control+A');
    await page.keyboard.type('1');
    await page.keyboard.press('Enter');
    await says('1 worker is wanted.');
    await page.getByText(/1 of 1 workers ready$/).waitFor();
    await tabTo(button('Stop'));
    await page.keyboard.press('Space');
    // The harmless one has the focus; Escape goes back.
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Keep it running');
    expect(await page.evaluate(OVERFLOW)).toBe(0);
    await page.keyboard.press('Escape');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Stop');
    await page.keyboard.press('Space');
    await page.keyboard.press('Shift+Tab');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Stop the service');
    expect(complaints).toEqual([]);
    await page.keyboard.press('Enter');
    await says('The service stops.');
    expect(await service.exited).toEqual({ code: 0, signal: null });
  });

  it('each have a name for a screen reader', async () => {
    const service = await open();
    await button('Stop').click();
    const controls = page.getByRole('region', { name: 'Controls' });
    const names = await controls.locator('input, button, [role=group]').evaluateAll((all) =>
      all.map((element) => {
        const { labels, textContent } = element as unknown as {
          labels?: { textContent: string }[];
          textContent: string;
        };
        return element.getAttribute('aria-label') ?? labels?.[0]?.textContent ?? textContent;
      }),
    );
    expect(names.every((name) => (name ?? '').trim() !== '')).toBe(true);
    expect(await controls.ariaSnapshot()).toMatch(
      /textbox "Token"[\s\S]*button "Reload"[\s\S]*spinbutton "Workers"[\s\S]*button "Scale"[\s\S]*group "stop the service\?"/,
    );
    expect((await service.stop()).code).toBe(0);
  });
});
