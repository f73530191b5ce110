import { randomInt } from 'node:crypto';

const FIRST =
  'amber brisk calm dapper eager fabled gentle hardy jaunty keen lively merry nimble patient quiet rapid sunny tidy upbeat vivid wise zesty';
const SECOND =
  'ant bear crane deer eel finch goat hare ibis jay koala lark mole newt owl pike quail rook seal tern vole wren yak';
const first = FIRST.split(' ');
const second = SECOND.split(' ');

/** A name for a run or model that got none. */
export function randomName(): string {
  return `${first[randomInt(first.length)]}-${second[randomInt(second.length)]}-${randomInt(1000)}`;
}
