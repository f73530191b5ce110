import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rankEnvironment, torchrunCommand } from './launcher.ts';

const place = { nodes: 2, procsPerNode: 4, nodeRank: 1, masterAddress: 'node-0.job', masterPort: 29_500 };

test("ranks count through all nodes, in torch.distributed's variables", () => {
  assert.deepEqual(rankEnvironment({ ...place, localRank: 2 }), {
    MASTER_ADDR: 'node-0.job',
    MASTER_PORT: '29500',
    WORLD_SIZE: '8',
    LOCAL_WORLD_SIZE: '4',
    RANK: '6',
    LOCAL_RANK: '2',
    GROUP_RANK: '1',
    GROUP_WORLD_SIZE: '2',
  });
});

test('torchrun starts scripts itself, and other programs without an interpreter', () => {
  const options = [
    '--nnodes=2',
    '--nproc-per-node=4',
    '--node-rank=1',
    '--master-addr=node-0.job',
    '--master-port=29500',
  ];
  assert.deepEqual(torchrunCommand(['python3.11', 'train.py', '--lr', '1'], place), [
    'torchrun',
    ...options,
    'train.py',
    '--lr',
    '1',
  ]);
  assert.deepEqual(torchrunCommand(['./train', '-v'], place), ['torchrun', ...options, '--no-python', './train', '-v']);
});
