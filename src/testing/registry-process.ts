// A registry in a process of its own, to be killed: registry-process.ts <data folder>. Prints its URL.
import { RegistryUnderTest } from './registry.ts';

const served = await RegistryUnderTest.open(process.env.REGISTRY_DATABASE ?? 'sqlite', process.argv[2]);
process.stdout.write(`${served.url}\n`);
