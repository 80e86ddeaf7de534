//! What Redis does in one step. Each script touches keys of one hash tag.

use redis::Script;

/// Returns the revision after the last one: a clock in microseconds that never goes back, so that
/// the revisions of a Redis that lost its data are not those that it gave before.
///
/// A number of Lua is exact up to 2^53, which is the year 2255.
const NEXT_REVISION: &str = "
local function next_revision(key)
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local last = tonumber(redis.call('GET', key) or '0')
  local revision = string.format('%.0f', math.max(now, last + 1))
  redis.call('SET', key, revision)
  return revision
end
local function write(key, revision, value, ttl)
  local text = revision .. ':' .. value
  if ttl == '0' then
    redis.call('SET', key, text)
  else
    redis.call('SET', key, text, 'PX', ttl)
  end
end
local function revision_of(text)
  return string.match(text, '^(%d+):')
end
";

/// KEYS: the record, the last revision. ARGV: the value, milliseconds to live or 0. Returns `yes`
/// and the revision, or `no` and the record.
const CREATE: &str = "
local found = redis.call('GET', KEYS[1])
if found then
  return {'no', found}
end
local revision = next_revision(KEYS[2])
write(KEYS[1], revision, ARGV[1], ARGV[2])
return {'yes', revision}
";

/// KEYS and ARGV: as before, and the expected revision. Returns `yes` and the revision, or `no`.
const REPLACE: &str = "
local found = redis.call('GET', KEYS[1])
if not found or revision_of(found) ~= ARGV[3] then
  return {'no'}
end
local revision = next_revision(KEYS[2])
write(KEYS[1], revision, ARGV[1], ARGV[2])
return {'yes', revision}
";

/// KEYS: the record, the last revision. ARGV: the expected revision.
const REMOVE: &str = "
local found = redis.call('GET', KEYS[1])
if found and revision_of(found) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return {}
";

/// KEYS: the stored blocks. ARGV: the expected position, the block, the Redis channel,
/// milliseconds that a block is kept or 0. Returns `yes` and the position, or `no` and the last
/// position.
///
/// The position is the time in milliseconds, or the one after the last, and the first half of the
/// entry's id: the age is then a bound of ids. A key that gets nothing for that long goes.
const APPEND: &str = "
local function last_position(key)
  local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  return last and string.match(last[1], '^%d+') or '0'
end
local last = last_position(KEYS[1])
if last ~= ARGV[1] then
  return {'no', last}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local position = string.format('%.0f', math.max(now, last + 1))
redis.call('XADD', KEYS[1], position .. '-0', 'b', ARGV[2])
if ARGV[4] ~= '0' then
  local oldest = string.format('%.0f', math.max(0, now - ARGV[4]))
  redis.call('XTRIM', KEYS[1], 'MINID', '~', oldest)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
else
  redis.call('PERSIST', KEYS[1])
end
redis.call('PUBLISH', ARGV[3], ARGV[2])
return {'yes', position}
";

/// The scripts, which Redis knows by their hash, and gets when it does not.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) create: Script,
    pub(super) replace: Script,
    pub(super) remove: Script,
    pub(super) append: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let record = |script: &str| Script::new(&[NEXT_REVISION, script].concat());
        Self {
            create: record(CREATE),
            replace: record(REPLACE),
            remove: record(REMOVE),
            append: Script::new(APPEND),
        }
    }
}
