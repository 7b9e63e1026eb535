/** What the supervisor does for the container's first process, from its birth to its end. */

import { receiveDescriptor } from '../../sys/files/receive-descriptor.js';
import type { Program } from '../../sys/native-code/program.js';
import type { Control } from '../../sys/process/control.js';
import { releaseFilePages } from '../../sys/process/file-pages.js';
import { waitForEnd } from '../../sys/process/wait.js';
import { writeMaps } from '../../sys/user-namespace/write-maps.js';
import type { Cgroup } from '../cgroup/cgroup.js';
import type { Circumstances } from '../plan/circumstances.js';
import type { Plan } from '../plan/plan.js';
import type { Settings } from '../settings/settings.js';
import type { OutputPipe } from '../stdio/output-pipes.js';
import { showChild } from './child-trace.js';
import { endUnlessHandled, type Signals } from './signals.js';

/** A container that has run for so long may run for days, and should take little memory here. */
const settledMs = 1000;

/** A container whose first process runs. */
export interface Running {
  pid: number;
  settings: Settings;
  circumstances: Circumstances;
  plan: Plan;
  program: Program;
  control: Control;
  signals: Signals;
  cgroup: Cgroup | undefined;
}

/** Serves the child in the order in which it asks, until its end. Returns its status. */
export async function attend(running: Running): Promise<number> {
  const { pid, circumstances, program, control, signals } = running;
  const { detachKeys, outputs } = circumstances;
  let master: number | undefined;
  try {
    letIn(running);
    master = serveGates(running);
  } catch (error) {
    // For a child that has ended nothing more could be done. What is to be told is why it ended, and not that.
    const hasFailed = program.failure() !== undefined;
    // When this line is closed the child ends at its gate, with a status of its own.
    control.close();
    const status = await waitForEnd(pid);
    if (hasFailed || status > 128) return status;
    throw error;
  }
  setTimeout(releaseFilePages, settledMs).unref();
  if (master !== undefined) return attendTerminal(pid, master, detachKeys!, signals);
  if (outputs.length > 0) return attendOutputs(pid, outputs, signals);
  return waitForEnd(pid);
}

/** Gives the child its ids and its cgroup, and leaves its mark in its layer: it waits for that at its first gate. */
function letIn({ pid, circumstances: { maps, layer }, control, cgroup }: Running): void {
  if (maps) writeMaps(pid, maps, '--userns self does without it');
  cgroup?.add(pid);
  layer?.leaveMark(pid);
  if (maps || cgroup || layer) control.open();
}

/** Does what the child asks for on its way to the command. Returns the master of its terminal, if it has one. */
function serveGates({ pid, settings, circumstances, plan, program, control }: Running): number | undefined {
  const { report, showing } = circumstances;
  const master = settings.terminal ? receiveDescriptor(control.fd) : undefined;
  const { filter } = plan;
  if (report && filter) {
    report.listen(pid, () => program.result(filter), control.fd);
    control.open();
  }
  if (showing) showChild(program, plan, control, report);
  return master;
}

async function attendTerminal(pid: number, master: number, detachKeys: Buffer, signals: Signals): Promise<number> {
  const { attachTerminal } = await import('../stdio/terminal.js');
  const terminal = attachTerminal(master, detachKeys);
  const hungUp = () => endUnlessHandled(pid);
  process.on('SIGHUP', hungUp);
  try {
    const status = await waitForEnd(pid);
    // From here on the child's pid may be another process's, so no signals are passed on: they end this process.
    signals.end();
    process.off('SIGHUP', hungUp);
    terminal.finish();
    await terminal.ended;
    return status;
  } finally {
    terminal.restore();
    process.off('SIGHUP', hungUp);
  }
}

async function attendOutputs(pid: number, outputs: readonly OutputPipe[], signals: Signals): Promise<number> {
  const { copyOutputs } = await import('../stdio/output.js');
  // As with a terminal, signals end this process from then on, also while it waits for a slow reader.
  const ended = waitForEnd(pid).finally(() => signals.end());
  await copyOutputs(outputs, ended);
  return ended;
}
