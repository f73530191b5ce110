/** What has to happen in Redis in one step. All give 0 for a refusal. */

/** KEYS leader, token · ARGV id, lease in ms. Gives the new leader's token. */
export const ACQUIRE = `
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return redis.call('INCR', KEYS[2]) end
return 0`;

/** KEYS leader · ARGV id, lease in ms. */
export const RENEW = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`;

const FENCED = `
if tonumber(ARGV[1]) < tonumber(redis.call('GET', KEYS[1]) or '0') then return 0 end
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[1])`;

/** KEYS fence, leader, standings, seq · ARGV token, id, then route and standing by turns ('' removes). Gives the new seq. */
export const PUBLISH = `${FENCED}
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[3], ARGV[i])
  else redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
end
return redis.call('INCR', KEYS[4])`;

/** KEYS fence, leader, then keys to remove · ARGV token, id. */
export const FORGET = `${FENCED}
for i = 3, #KEYS do redis.call('DEL', KEYS[i]) end
return 1`;

/**
 * KEYS the mark of one that was taken for gone, nodes, then sums · ARGV id, how long sums are kept in ms, then the sums'
 * texts. Refused to whom is taken for gone: its sums are among theirs, and would count twice.
 */
export const TELL = `
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
for i = 3, #KEYS do
  redis.call('HSET', KEYS[i], ARGV[1], ARGV[i])
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
end
return 1`;

/**
 * KEYS fence, leader, nodes, read, then marks · ARGV token, id, how long a mark is kept in ms, then the gateway of each
 * mark and its count by turns. Takes them for gone, but who has counted on meanwhile; what they told stays as it is.
 */
export const TAKE_FOR_GONE = `${FENCED}
for i = 5, #KEYS do
  local node = ARGV[2 * i - 6]
  if redis.call('HGET', KEYS[3], node) == ARGV[2 * i - 5] then
    redis.call('SET', KEYS[i], 1, 'PX', ARGV[3])
    redis.call('HDEL', KEYS[3], node)
    redis.call('HDEL', KEYS[4], node)
  end
end
return 1`;

/** KEYS fence, leader, sums · ARGV token, id, field of those that are gone, their sum, then who is added to it. */
export const RETIRE = `${FENCED}
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
for i = 5, #ARGV do redis.call('HDEL', KEYS[3], ARGV[i]) end
return 1`;
