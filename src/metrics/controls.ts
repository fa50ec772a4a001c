/** The part of the live page that changes something. It is there only where there is a token. */
import { MAX_TOKEN_CHARS } from '../options/control-token';
import { MAX_SCALE } from '../control/protocol';

export const CONTROLS_STYLE = `
.controls{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center}button,input{font:inherit;color:inherit;background:var(--fill);border:1px solid var(--line);padding:.3rem .7rem;min-height:2.2rem}
input{background:var(--bg)}#workers{width:6rem}#token{width:16rem;max-width:100%}button.bad{border-color:var(--bad);color:var(--bad)}[hidden]{display:none}
`;

export const CONTROLS = `<section aria-labelledby="controls"><h2 id="controls">Controls</h2>
<p class="controls"><label for="token">Token</label><input id="token" type="password" autocomplete="off" spellcheck="false" maxlength="${MAX_TOKEN_CHARS}">
<button id="reload" type="button">Reload</button>
<label for="workers">Workers</label><input id="workers" type="number" min="1" max="${MAX_SCALE}" step="1"><button id="scale" type="button">Scale</button>
<button id="stop" type="button" aria-expanded="false" aria-controls="sure">Stop</button>
<span id="sure" role="group" aria-label="stop the service?" hidden><button id="really" class="bad" type="button">Stop the service</button> <button id="keep" type="button">Keep it running</button></span></p>
<p id="result" role="status"></p></section>
`;

/** Goes after the page's own script. The token is in its field and nowhere else. */
export const CONTROLS_SCRIPT = `
async function ask(path, doing, done) {
  const token = at('token').value;
  if (token === '') { at('token').focus(); return set('result', 'Enter the token first.'); }
  set('result', doing + ' …');
  try {
    const response = await fetch(path, { method: 'POST', headers: { authorization: 'Bearer ' + token }, credentials: 'omit', redirect: 'error' });
    const answer = await response.json();
    set('result', answer.ok ? done(answer.result) : 'Not done: ' + answer.error.message + '.');
  } catch (error) {
    set('result', 'No answer: ' + error.message + '.');
  }
}
function askStop(open) {
  at('sure').hidden = !open;
  at('stop').hidden = open;
  at('stop').setAttribute('aria-expanded', String(open));
  at(open ? 'keep' : 'stop').focus();
  set('result', open ? 'Stop the service? What is under way is finished first.' : '');
}
function scale() {
  const workers = at('workers');
  if (workers.value === '' || !workers.validity.valid) { workers.focus(); return set('result', 'Say how many workers, from ' + workers.min + ' to ' + workers.max + '.'); }
  ask('/scale?workers=' + Number(workers.value), 'Scaling', (r) => r.workers + (r.workers === 1 ? ' worker is wanted.' : ' workers are wanted.'));
}
at('reload').onclick = () => ask('/reload', 'Reloading', (r) => 'Generation ' + r.generation + ' serves.');
at('scale').onclick = scale;
at('workers').onkeydown = (e) => { if (e.key === 'Enter') scale(); };
at('stop').onclick = () => askStop(true);
at('keep').onclick = () => askStop(false);
at('sure').onkeydown = (e) => { if (e.key === 'Escape') askStop(false); };
at('really').onclick = () => { askStop(false); ask('/stop', 'Stopping', () => 'The service stops.'); };
source.addEventListener('status', (e) => { at('workers').value = JSON.parse(e.data).workersWanted; }, { once: true });
`;
