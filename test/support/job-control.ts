import type { TestTerminal } from './terminal.js';

/** A shell with job control, in its plainest form. */
export const bash: readonly string[] = ['bash', '--norc', '--noediting', '-i'];

/**
 * Tells whether its process group is that of the terminal, and when that changes: proc_pid_stat(5). For bash, since dash
 * waits in vfork(2) for a child that may be stopped before its execve(2), and then does not stop itself.
 */
const job =
  'while :; do read -r _ _ _ _ own _ _ front _ </proc/$$/stat; [ $own = $front ] && now=front || now=back; ' +
  '[ $now = "$then" ] || echo "in the $now"; then=$now; sleep 0.05; done';

/**
 * What people do with a job of a shell inside, whose prompt is `inner> `, and with the command `outer` that carries its
 * terminal, in the shell outside, whose prompt is `shell> `. In the end the shell inside exits with status 5.
 */
export async function useJobs(terminal: TestTerminal, outer: string): Promise<void> {
  await terminal.run(`bash -c '${job}'`, 'in the front');
  terminal.type('\x1a');
  await terminal.see('Stopped');
  await terminal.run('bg', 'in the back');
  await terminal.run('fg', 'in the front');
  terminal.type('\x03');
  await terminal.see('inner> ');
  await terminal.run('echo status=$?', 'status=130');
  terminal.type('\x10\x11');
  await terminal.see('Stopped');
  await terminal.run('echo outside-$((6 * 7))', 'outside-42');
  await terminal.run('fg', outer);
  await terminal.run('echo inside-$((6 * 7))', 'inside-42');
  await terminal.run('exit 5', 'shell> ');
  await terminal.run('echo status=$?', 'status=5');
}
