import { artifactContract } from '../../testing/artifact-contract.ts';
import { testStorage } from '../../testing/artifact-storage.ts';

artifactContract(async () => testStorage());
