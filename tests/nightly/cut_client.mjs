// Asks for each URL in turn, by node:http and by fetch, and tells in one line of JSON what each took the response for.
import http from "node:http";

function byHttp(url, method) {
  return new Promise((resolve) => {
    const request = http.request(url, { method, agent: false }, (response) => {
      const own = (response.headers["proxy-status"] ?? "").includes("error=");
      let failed = false;
      response.on("error", () => { failed = true; });
      response.on("close", () => resolve({ whole: response.complete && !failed, own }));
      response.resume();
    });
    request.on("error", () => resolve({ whole: false, own: false }));
    request.end();
  });
}

async function byFetch(url, method) {
  try {
    const response = await fetch(url, { method });
    await response.arrayBuffer();
    return { whole: true, own: (response.headers.get("proxy-status") ?? "").includes("error=") };
  } catch {
    return { whole: false, own: false };
  }
}

const seen = [];
for (const [url, method] of JSON.parse(process.argv[2])) {
  seen.push([await byHttp(url, method), await byFetch(url, method)]);
}
process.stdout.write(JSON.stringify(seen));
