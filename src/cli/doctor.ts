/** `prefork doctor`: what works on this machine, and what not and why. */
import type { Command } from 'commander';
import { formatSize } from '../options/size';
import { diagnose, type Diagnosis, type Fact } from './diagnosis';

/** Adds the command to `program`. */
export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .summary('tell what works on this machine, and what not and why')
    .description(
      'Tells whether the addon loads, which kernel features and capabilities there are, and what is missing for the rest.',
    )
    .option('--json', 'print one JSON object, for programs')
    .action((options: { json?: boolean }) => {
      const diagnosis = diagnose();
      process.stdout.write(options.json ? `${JSON.stringify(diagnosis, null, 2)}\n` : render(diagnosis));
    });
}

function render(diagnosis: Diagnosis): string {
  const { prefork, node, system, addon, limits } = diagnosis;
  const lines = [
    `prefork ${prefork}, Node.js ${node.version} (${node.path}), ${system.platform} ${system.arch}, kernel ${system.kernel}, ${system.libc}`,
    '',
    addon.loaded
      ? `Engine: native (addon ${addon.version}, ${addon.origin === 'package' ? 'from the package' : 'built here'}: ${addon.path})`
      : `Engine: js, since the addon did not load: ${addon.reason}`,
    ...(addon.advice === null ? [] : [`  ${addon.advice}.`]),
    '',
    'Kernel and C library:',
    ...diagnosis.features.map(renderFact),
    '',
    'Capabilities:',
    ...diagnosis.capabilities.map(renderFact),
    '',
    'Limits:',
    `  CPUs for --workers auto: ${limits.cpus}`,
    `  most workers: ${limits.maxWorkers}`,
    `  open files: ${limits.openFiles ?? 'unknown'}`,
    `  processes and threads of this user: ${limits.processes ?? 'no limit'}`,
    `  processes and threads of the control group: ${limits.tasks ?? 'no limit'}`,
    `  memory of the control group: ${limits.memoryBytes === null ? 'no limit' : formatSize(limits.memoryBytes)}`,
    `  queue of a listening socket (net.core.somaxconn): ${limits.somaxconn ?? 'unknown'}`,
  ];
  return `${lines.join('\n')}\n`;
}

function renderFact({ name, works, doc, reason }: Fact): string {
  return `  ${works === null ? '?  ' : works ? 'yes' : 'no '}  ${name.padEnd(20)} ${doc}${reason === null ? '' : `: ${reason}`}`;
}
