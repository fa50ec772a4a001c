/** The result of a check as text for people. */
import type { CheckResult, FailureCount } from './check';
import { failureKinds } from './failure';

/** Ends with the verdict, on a line of its own. */
export function renderCheck(result: CheckResult): string {
  const { requests, failed, connections, retried, slowestMs, elapsedMs, reloads, failures } = result;
  const badRuns = reloads.flatMap(({ problem }, index) =>
    problem === null ? [] : [`reload ${index + 1}: the command failed: ${problem}`],
  );
  const lines = [
    `${number(requests)} requests answered, ${number(failed)} failed, over ${number(connections)} connections in ${(elapsedMs / 1000).toFixed(1)} s; the slowest took ${slowestMs} ms`,
    ...(retried > 0 ? [`${number(retried)} HTTP/2 streams sent again, as the protocol allows`] : []),
    ...badRuns,
    ...failures.map(renderFailure),
    verdict(result, badRuns.length),
  ];
  return `${lines.map((line) => `prefork: ${line}`).join('\n')}\n`;
}

function renderFailure({ kind, count, first }: FailureCount): string {
  const when = first.reload === 0 ? 'before the first reload' : `in reload ${first.reload}`;
  const before = first.answersBefore === 0 ? '' : `, after ${first.answersBefore} answers on its connection`;
  return `${number(count)} × ${kind} (${failureKinds[kind]}); first ${when}: ${printable(first.detail)}${before}`;
}

function verdict({ verdict, problem, reloads, failed, requests }: CheckResult, badRuns: number): string {
  const through = `through ${reloads.length} ${reloads.length === 1 ? 'reload' : 'reloads'}`;
  if (verdict === 'passed') return `PASSED: none of ${number(requests)} requests failed ${through}`;
  if (verdict === 'none') return `NO VERDICT: ${problem}`;
  const commands = badRuns === 0 ? '' : `${failed === 0 ? '' : ', and '}${badRuns} of the commands failed`;
  const lost = failed === 0 ? '' : `${number(failed)} of ${number(requests + failed)} requests failed`;
  return `FAILED: ${lost}${commands} ${through}${problem === null ? '' : `; ${problem}`}`;
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e\u00a0-\uffff]+/g, ' ').slice(0, 200);
}
