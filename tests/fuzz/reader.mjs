// Node's own http server and client as readers of HTTP/1.1: frames of bytes come in, what Node makes of them goes out.
//
// Frame in: length (u32, big endian) of what follows, a kind, then for "Q" requests the bytes; for "S" a response:
// "1" or "0" for a stream that came to its end behind it, the length of the request's method (u8), the method, the
// bytes. Out: a line of JSON for each frame, in order.
import http from 'node:http';
import { Duplex } from 'node:stream';

const LIMIT = 1 << 20;
const strict = { maxHeaderSize: LIMIT, insecureHTTPParser: false };
const latin1 = (chunks) => Buffer.concat(chunks).toString('latin1');

class Wire extends Duplex {
  constructor(after) {
    super({ allowHalfOpen: true });
    this.after = after;
  }
  _read() {}
  _write(chunk, encoding, done) { done(); }
  _final(done) { done(); }
  setTimeout() { return this; }
  setNoDelay() { return this; }
  setKeepAlive() { return this; }
  ref() { return this; }
  unref() { return this; }
}

const pairs = (raw) => {
  const found = [];
  for (let at = 0; at < raw.length; at += 2) found.push([raw[at], raw[at + 1]]);
  return found;
};

const server = http.createServer({ ...strict, requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 0, connectionsCheckingInterval: 1 << 30 });
server.maxHeadersCount = 0;
server.timeout = 0;
const take = (request, response) => {
  const found = request.socket.found;
  const message = { start: [request.method, request.url], version: request.httpVersion, fields: pairs(request.rawHeaders), body: '' };
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    if (!request.complete) return;
    message.body = latin1(chunks);
    found.messages.push(message);
    response.end();
  });
  request.on('error', () => {});
  response.on('error', () => {});
};
server.on('request', take);
server.on('checkContinue', take);
server.on('checkExpectation', take);
server.on('clientError', (error, socket) => {
  socket.found.rest = error.code === 'HPE_INVALID_EOF_STATE' ? 'PARTIAL' : 'FAULT';
  socket.found.why = error.code ?? String(error);
  turns(3).then(() => socket.destroy()); // the ends of whole messages are still to be told
});

const readRequests = (bytes) => new Promise((resolve) => {
  const wire = new Wire();
  wire.found = { messages: [], rest: 'NOTHING', why: '' };
  wire.on('error', () => {});
  wire.on('close', () => resolve(wire.found));
  server.emit('connection', wire);
  wire.push(bytes);
  wire.push(null);
});

const turns = async (number) => {
  for (let turn = 0; turn < number; turn += 1) await new Promise(setImmediate);
};

// The last byte is held back for a while: a response that is whole without it has a byte too many.
const readResponse = async (bytes, method, ended) => {
  const wire = new Wire();
  const found = { messages: [], rest: 'PARTIAL', why: '' };
  let whole = false;
  let failed = '';
  wire.on('error', () => {});
  const request = http.request({ method, path: '/', host: 'x', createConnection: () => wire, ...strict });
  request.maxHeadersCount = 0;
  request.on('error', (error) => { failed = error.code ?? String(error); });
  request.on('information', (head) => {
    found.messages.push({ start: [String(head.statusCode)], version: head.httpVersion, fields: pairs(head.rawHeaders), body: '' });
  });
  request.on('upgrade', (head) => {
    found.messages.push({ start: [String(head.statusCode)], version: head.httpVersion, fields: pairs(head.rawHeaders), body: '' });
    whole = true;
  });
  request.on('response', (head) => {
    const chunks = [];
    head.on('data', (chunk) => chunks.push(chunk));
    head.on('error', (error) => { failed = error.code ?? String(error); });
    head.on('end', () => {
      if (!head.complete) return;
      whole = true;
      found.messages.push({ start: [String(head.statusCode)], version: head.httpVersion, fields: pairs(head.rawHeaders), body: latin1(chunks) });
    });
  });
  request.end();
  await turns(2);
  wire.push(bytes.subarray(0, -1));
  await turns(3);
  const early = whole;
  wire.push(bytes.subarray(-1));
  await turns(3);
  if (ended) {
    wire.push(null);
    await turns(4);
  }
  if (failed && !whole) {
    found.rest = failed === 'ECONNRESET' ? 'PARTIAL' : 'FAULT';
    found.why = failed;
  } else if (whole) {
    found.rest = early ? 'FAULT' : 'NOTHING';
    found.why = early ? 'a byte too many' : '';
  }
  wire.destroy();
  request.destroy();
  return found;
};

const answer = async (frame) => {
  if (frame[0] === 0x51) return readRequests(frame.subarray(1));
  const ended = frame[1] === 0x31;
  const size = frame[2];
  return readResponse(frame.subarray(3 + size), frame.subarray(3, 3 + size).toString('latin1'), ended);
};

let held = Buffer.alloc(0);
for await (const chunk of process.stdin) {
  held = held.length ? Buffer.concat([held, chunk]) : chunk;
  let lines = '';
  while (held.length >= 4 && held.length >= 4 + held.readUInt32BE(0)) {
    const size = held.readUInt32BE(0);
    const frame = held.subarray(4, 4 + size);
    held = held.subarray(4 + size);
    lines += JSON.stringify(await answer(frame)) + '\n';
  }
  if (lines) process.stdout.write(lines);
}
