#!/usr/bin/env node
import { main } from '../lib/pipe/command.js';

main(
  {
    name: 'md-token',
    summary: 'x',
    operands: 'IMAGE',
    arity: { min: 1, max: 1 },
    flags: {},
    examples: [['md-token alpine', 'x']],
    statuses: [0, 64],
  },
  async () => undefined,
);
