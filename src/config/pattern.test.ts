import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compilePattern } from './pattern.ts';

test('agrees with RegExp on what both understand', () => {
  const atom = fc.constantFrom('a', 'b', '.', '[ab]', '[^a]', '\\d', '\\w', '(?:ab|c)', '(a|)', '^', '$', '\\.', 'é');
  const repeat = fc.constantFrom('', '', '*', '+', '?', '{2}', '{1,2}', '{0,}', '*?');
  const piece = fc.tuple(atom, repeat).map(([a, r]) => (a === '^' || a === '$' ? a : a + r));
  const source = fc.array(piece, { minLength: 1, maxLength: 6 }).map((pieces) => pieces.join(''));
  const alternatives = fc.array(source, { minLength: 1, maxLength: 3 }).map((list) => list.join('|'));
  const text = fc.array(fc.constantFrom('a', 'b', 'c', '1', '.', 'é', '\n', '_'), { maxLength: 12 });
  fc.assert(
    fc.property(alternatives, fc.array(text, { minLength: 1, maxLength: 8 }), (pattern, texts) => {
      const ours = compilePattern(pattern);
      const theirs = new RegExp(pattern);
      for (const chars of texts) {
        const value = chars.join('');
        assert.equal(ours.test(value), theirs.test(value), `/${pattern}/ on ${JSON.stringify(value)}`);
      }
    }),
    { numRuns: 1500 },
  );
});

test('patterns that hold up a backtracking engine take no longer here', () => {
  const text = `${'a'.repeat(50_000)}!`;
  for (const pattern of ['^(a+)+$', '^(a|a)*$', '^(a*)*b$', '(x+x+)+y', 'a{0,30}a{30}$']) {
    assert.equal(compilePattern(pattern).test(text), false, pattern);
  }
});

test('an automaton with more states than are kept still answers right', () => {
  const ours = compilePattern('(a|b)*a(a|b){10}$');
  const theirs = /(a|b)*a(a|b){10}$/;
  let seed = 1;
  for (let i = 0; i < 3000; i++) {
    let text = '';
    for (let j = 0; j < 20; j++) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      text += seed & 0x10000 ? 'a' : 'b';
    }
    assert.equal(ours.test(text), theirs.test(text), text);
  }
});

test('what is not supported is named', () => {
  const cases: [string, RegExp][] = [
    ['(?=a)', /lookaround/],
    ['(a)\\1', /\\1 is not supported/],
    ['a**', /repeats a repetition/],
    ['(a', /"\(" without/],
    ['a)', /"\)" without/],
    ['[a', /"\[" without/],
    ['[z-a]', /wrong ends/],
    ['a{3,2}', /wrong way/],
    ['*a', /nothing to repeat/],
    ['^*', /nothing to repeat/],
    ['\\', /ends in a backslash/],
    ['((a{50}){50}){50}', /too large/],
    ['('.repeat(60), /deeper/],
  ];
  for (const [pattern, message] of cases) assert.throws(() => compilePattern(pattern), message, pattern);
});
