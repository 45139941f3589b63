// An ordinary Node application: GET URL/first, then POST a file to URL/second, by fetch or by the modules http and https.
import { readFileSync } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";

const [library, url, file] = process.argv.slice(2);

function ask(method, target, body) {
  return new Promise((resolve, reject) => {
    const module = target.startsWith("https:") ? https : http;
    const request = module.request(target, { method }, (response) => {
      const pieces = [];
      response.on("data", (piece) => pieces.push(piece));
      response.on("end", () => resolve(`${response.statusCode} ${Buffer.concat(pieces)}`));
    });
    request.on("error", reject);
    request.end(body);
  });
}

async function fetched(method, target, body) {
  const response = await fetch(target, { method, body });
  return `${response.status} ${await response.text()}`;
}

const by = library === "fetch" ? fetched : ask;
console.log(await by("GET", `${url}/first`));
console.log(await by("POST", `${url}/second`, readFileSync(file)));
