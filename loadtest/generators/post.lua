-- wrk script: posts a body read from a file, to one path or to many in turn.
--   wrk … -s post.lua URL -- <body file> <headers file> [<paths file>]
-- The headers file holds "name: value" lines; the paths file one path a line, behind it, after a tab, a header of its
-- own. Prints one line of JSON at the end.

local function lines(name)
  local list = {}
  for line in io.lines(name) do
    if #line > 0 then list[#list + 1] = line end
  end
  return list
end

local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  for _, line in ipairs(lines(args[2])) do
    local name, value = line:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
  if args[3] then
    local requests = {}
    for i, line in ipairs(lines(args[3])) do
      local path, name, value = line:match("^([^\t]*)\t([^:]+): (.*)$")
      if name then wrk.headers[name] = value end
      requests[i] = wrk.format(nil, path or line)
    end
    -- A fixed stride that shares no factor with the count visits every path, far from its neighbours.
    local count, at = #requests, number * 7
    local stride = 379
    while count % stride == 0 do stride = stride + 2 end
    request = function()
      at = (at + stride) % count
      return requests[at + 1]
    end
  else
    local only = wrk.format()
    request = function() return only end
  end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests":%d,"micros":%d,"bytes":%d,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,' ..
    '"p50":%d,"p90":%d,"p99":%d,"p999":%d,"max":%d}',
    summary.requests, summary.duration, summary.bytes, errors.status, errors.connect, errors.read, errors.write,
    errors.timeout, latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9),
    latency.max))
end
