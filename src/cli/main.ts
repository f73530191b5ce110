#!/usr/bin/env node
import { Command } from 'commander';
import { addServe } from './serve.ts';

const program = new Command('switchyard').description('A high-throughput model-serving gateway');
addServe(program);
await program.parseAsync();
