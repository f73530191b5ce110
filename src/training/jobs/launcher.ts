/** Where one process of a job that has several stands among them, in torchrun's terms. */
export interface Rank {
  nodes: number;
  procsPerNode: number;
  /** 0 to nodes - 1. */
  nodeRank: number;
  /** 0 to procsPerNode - 1. */
  localRank: number;
  masterAddress: string;
  masterPort: number;
}

/** The variables that torch.distributed and its relatives read. */
export function rankEnvironment(rank: Rank): Record<string, string> {
  const { nodes, procsPerNode, nodeRank, localRank, masterAddress, masterPort } = rank;
  return {
    MASTER_ADDR: masterAddress,
    MASTER_PORT: String(masterPort),
    WORLD_SIZE: String(nodes * procsPerNode),
    LOCAL_WORLD_SIZE: String(procsPerNode),
    RANK: String(nodeRank * procsPerNode + localRank),
    LOCAL_RANK: String(localRank),
    GROUP_RANK: String(nodeRank),
    GROUP_WORLD_SIZE: String(nodes),
  };
}

/**
 * The command of one node as torchrun starts it: a Python program's interpreter is left out, as torchrun brings its own,
 * and any other program is started without one.
 */
export function torchrunCommand(command: readonly string[], rank: Omit<Rank, 'localRank'>): string[] {
  const { nodes, procsPerNode, nodeRank, masterAddress, masterPort } = rank;
  const python = /^(.*\/)?python3?(\.\d+)?$/.test(command[0]);
  return [
    'torchrun',
    `--nnodes=${nodes}`,
    `--nproc-per-node=${procsPerNode}`,
    `--node-rank=${nodeRank}`,
    `--master-addr=${masterAddress}`,
    `--master-port=${masterPort}`,
    ...(python ? command.slice(1) : ['--no-python', ...command]),
  ];
}
