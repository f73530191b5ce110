import { artifactContract } from '../../testing/artifact-contract.ts';
import { freshBucket, testStorage } from '../../testing/artifact-storage.ts';

artifactContract(async () => testStorage({ s3: await freshBucket() }));
