/** The live page: one document with its style and script in it, under a policy that allows these and nothing else. */
import { createHash } from 'node:crypto';
import type { Answer } from './answer';
import { CONTROLS, CONTROLS_SCRIPT, CONTROLS_STYLE } from './controls';

const STYLE = `
:root{color-scheme:light dark;--bg:#fbfbf9;--ink:#1d1f21;--dim:#5c6167;--line:#d9d9d4;--fill:#e9eef2;--mark:#1f5f8b;--bad:#a3241b}
@media(prefers-color-scheme:dark){:root{--bg:#16181a;--ink:#e6e6e3;--dim:#a0a5aa;--line:#34383c;--fill:#232a30;--mark:#7db7de;--bad:#f08a80}}
*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:76rem;background:var(--bg);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.25rem;margin:0}h2{font-size:1rem;margin:1.5rem 0 .5rem}p{margin:.25rem 0}.dim{color:var(--dim)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.5rem;list-style:none;margin:0;padding:0}
.grid li{border:1px solid var(--line);border-left-width:5px;padding:.4rem .6rem;font-variant-numeric:tabular-nums}
.grid li[data-state=busy]{background:var(--fill);border-left-color:var(--mark)}.grid li[data-state=starting]{border-style:dashed}
.grid li[data-state=draining]{border-style:dotted}.grid li[data-state=killed],.grid li[data-state=stopped]{border:2px solid var(--bad)}
meter{width:100%;height:.7rem}svg{width:100%;height:5rem;border:1px solid var(--line);background:var(--bg)}polyline{fill:none;stroke:var(--mark);stroke-width:1.5;vector-effect:non-scaling-stroke}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(16rem,1fr));gap:1rem}figure{margin:0}figcaption{font-variant-numeric:tabular-nums}
ol{margin:0;padding:0;list-style:none;font-variant-numeric:tabular-nums}ol li{border-top:1px solid var(--line);padding:.25rem 0}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{text-align:right;padding:.2rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap}
th:nth-child(4),td:nth-child(4),th:last-child,td:last-child{text-align:left}:focus-visible{outline:2px solid var(--mark);outline-offset:2px}
`;

const SCRIPT = `
'use strict';
const at = (id) => document.getElementById(id);
const set = (id, text) => { if (at(id).textContent !== text) at(id).textContent = text; };
const mib = (bytes) => Math.round(bytes / 1048576) + ' MiB';
const points = [];
let before = null;
function stateOf(w) { return w.stopped ? 'stopped' : w.state === 'ready' && w.row ? w.row.activity : w.state; }
function cell(tag, text) { const e = document.createElement(tag); e.textContent = text; return e; }
function draw(id, values, top) {
  const n = Math.max(1, values.length - 1);
  at(id).setAttribute('points', values.map((v, i) => (i / n * 300).toFixed(1) + ',' + (100 - Math.min(1, v / top) * 98).toFixed(1)).join(' '));
}
function show(s) {
  const now = performance.now();
  const rows = s.workers.map((w) => w.row).filter(Boolean);
  const total = (f) => rows.reduce((sum, r) => sum + f(r), 0);
  const use = rows.length ? total((r) => r.utilisation) / rows.length : 0;
  const lag = Math.max(0, ...rows.map((r) => r.lagMs));
  let gain = 0;
  for (const w of s.workers) if (before && w.row && before.requests.has(w.workerId)) gain += Math.max(0, w.row.requests - before.requests.get(w.workerId));
  const rate = before ? gain * 1000 / (now - before.now) : 0;
  before = { now, requests: new Map(s.workers.filter((w) => w.row).map((w) => [w.workerId, w.row.requests])) };
  points.push({ use, lag }); if (points.length > 300) points.shift();
  set('state', s.state + ', generation ' + s.generation + (s.nextGeneration ? ' → ' + s.nextGeneration : '') + ', ' + s.workersReady + ' of ' + s.workersWanted + ' workers ready');
  set('about', 'manager ' + s.pid + ', prefork ' + s.version + ', ' + s.engine + ' engine, ' + (s.addresses.join(', ') || 'no address'));
  set('rate', Math.round(rate) + ' requests a second, ' + total((r) => r.connections) + ' connections, ' + mib(total((r) => r.rssBytes)));
  set('use', 'Use of the event loops: ' + Math.round(use * 100) + ' %');
  set('lag', 'Longest lag of a loop: ' + lag + ' ms');
  draw('use-line', points.map((p) => p.use), 1);
  draw('lag-line', points.map((p) => p.lag), Math.max(20, ...points.map((p) => p.lag)));
  const grid = at('grid'), body = at('rows');
  grid.replaceChildren(...s.workers.map((w) => {
    const li = cell('li', '');
    li.dataset.state = stateOf(w);
    li.append(cell('strong', 'slot ' + w.slot), ' ' + stateOf(w));
    const m = document.createElement('meter');
    m.value = w.row ? w.row.utilisation : 0;
    m.setAttribute('aria-label', 'use of its loop, slot ' + w.slot);
    li.append(m, cell('div', w.row ? w.row.requests + ' requests' : 'no figures'));
    return li;
  }));
  body.replaceChildren(...s.workers.map((w) => {
    const tr = document.createElement('tr'), r = w.row;
    const head = cell('th', w.slot); head.scope = 'row';
    tr.append(head, cell('td', w.pid ?? '–'), cell('td', w.generation), cell('td', stateOf(w)), cell('td', Math.round(w.ageMs / 1000) + ' s'),
      cell('td', r ? r.requests : '–'), cell('td', r ? r.lagMs + ' ms' : '–'), cell('td', r ? Math.round(r.utilisation * 100) + ' %' : '–'),
      cell('td', r ? mib(r.rssBytes) : '–'), cell('td', w.lastExit ? w.lastExit.how + (w.lastExit.expected ? ' as asked' : '') : '–'));
    return tr;
  }));
}
function tell(e) {
  const li = cell('li', '');
  const time = cell('time', new Date(e.at).toLocaleTimeString()); time.dateTime = new Date(e.at).toISOString();
  li.append(time, ' ' + (e.level === 'info' ? '' : e.level + ': ') + e.text);
  at('log').prepend(li);
  while (at('log').children.length > 50) at('log').lastChild.remove();
}
const source = new EventSource('/events');
source.addEventListener('status', (e) => show(JSON.parse(e.data)));
source.addEventListener('past', (e) => { at('log').replaceChildren(); for (const each of JSON.parse(e.data)) tell(each); });
source.addEventListener('entry', (e) => tell(JSON.parse(e.data)));
source.onopen = () => set('link', 'live');
source.onerror = () => set('link', 'no connection to the manager; trying again');
`;

const bodyOf = (
  controls: string,
): string => `<header><h1>prefork <span class="dim" id="link" role="status">connecting</span></h1>
<p id="state" role="status">…</p><p class="dim" id="about"></p><p id="rate"></p></header>
<main><h2>Workers</h2><ul class="grid" id="grid" aria-label="workers by slot"></ul>
${controls}<h2>The last minutes, as long as this page is open</h2><div class="charts">
<figure><svg viewBox="0 0 300 100" preserveAspectRatio="none" role="img" aria-labelledby="use"><polyline id="use-line" points=""/></svg><figcaption id="use"></figcaption></figure>
<figure><svg viewBox="0 0 300 100" preserveAspectRatio="none" role="img" aria-labelledby="lag"><polyline id="lag-line" points=""/></svg><figcaption id="lag"></figcaption></figure></div>
<h2 id="what">What happened</h2><ol id="log" role="log" aria-live="polite" aria-labelledby="what"></ol>
<h2 id="all">In figures</h2><div class="scroll" tabindex="0" role="region" aria-labelledby="all"><table><thead><tr>
<th scope="col">slot</th><th scope="col">pid</th><th scope="col">generation</th><th scope="col">state</th><th scope="col">age</th><th scope="col">requests</th>
<th scope="col">lag</th><th scope="col">loop</th><th scope="col">RSS</th><th scope="col">last exit</th></tr></thead><tbody id="rows"></tbody></table></div></main>`;

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** @param controls whether there is a token, and so something to be done with it */
export function page(controls: boolean): Answer {
  const style = controls ? STYLE + CONTROLS_STYLE : STYLE;
  const script = controls ? SCRIPT + CONTROLS_SCRIPT : SCRIPT;
  const policy = `default-src 'none'; script-src ${hashOf(script)}; style-src ${hashOf(style)}; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
  const body = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>prefork</title><meta name="viewport" content="width=device-width,initial-scale=1"><style>${style}</style></head><body>${bodyOf(controls ? CONTROLS : '')}<script>${script}</script></body></html>\n`;
  return {
    status: 200,
    type: 'text/html; charset=utf-8',
    body,
    headers: { 'content-security-policy': policy, 'referrer-policy': 'no-referrer' },
  };
}
