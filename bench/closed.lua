-- wrk's half of the closed loop: distinct requests, an exact count of those that were handed to the socket, JSON at the end.
-- Arguments: host:port, prefix, path, "distinct" or "repeated" heads, how many routes the requests take in turn (0: one).
local threads = {}
local format = string.format

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   sent = 0
   prefix, path, distinct, routes = args[2], args[3], args[4] == "distinct", tonumber(args[5])
   seed = tonumber(tostring({}):match("0x(%x+)"), 16) % 0xffffff
   head = " HTTP/1.1\r\nHost: " .. args[1] .. "\r\nX-Request-Id: "
   rest = table.concat({
      "",
      "User-Agent: bench/1.0 (wrk)",
      "Accept: application/json",
      "Accept-Language: en-GB,en;q=0.8",
      "Accept-Encoding: gzip, deflate",
      "Cache-Control: no-cache",
      "Cookie: session=9f86d081884c7d659a2feaa0c55ad015; theme=dark",
      "X-Tenant: acme-production",
      "X-Api-Version: 2024-05-01",
      "X-Client-Version: 7.31.2",
      "X-Correlation-Group: nightly-import",
      "", "",
   }, "\r\n")
end

function request()
   sent = sent + 1
   local number = distinct and sent or 7
   local id = format("%06x%010x", seed, number)
   local place = prefix
   if routes > 0 then
      place = prefix .. (sent % routes)
   end
   return "GET " .. place .. path .. "?item=" .. number .. "&cursor=" .. id .. head .. id ..
      "\r\ntraceparent: 00-" .. id .. id .. "-" .. id .. "-01" .. rest
end

function done(summary, latency, requests)
   local total = 0
   for _, thread in ipairs(threads) do
      total = total + thread:get("sent")
   end
   local errors = summary.errors
   io.write(format(
      '\n{"sent":%d,"completed":%d,"bytes":%d,"seconds":%.6f,"p50":%.1f,"p99":%.1f,"status":%d,"socket":%d}\n',
      total, summary.requests, summary.bytes, summary.duration / 1e6,
      latency:percentile(50), latency:percentile(99), errors.status,
      errors.connect + errors.read + errors.write + errors.timeout
   ))
end
