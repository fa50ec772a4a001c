// watcher.mjs URL: scrapes /metrics once a second, has the live page open, tells when it has begun, and on SIGTERM how often it was answered.
import { setInterval } from 'node:timers/promises';

const [url] = process.argv.slice(2);
let scrapes = 0;
let looks = 0;
process.once('SIGTERM', () => {
  console.log(`${scrapes} scrapes, ${looks} looks`);
  process.exit();
});
void look();
await scrape();
console.log('looking');
for await (const _ of setInterval(1000)) await scrape();

async function scrape() {
  const answer = await (await fetch(`${url}/metrics`)).text();
  if (answer.includes('prefork_workers')) scrapes++;
}

async function look() {
  const { body } = await fetch(`${url}/events`);
  for await (const _ of body) looks++;
}
