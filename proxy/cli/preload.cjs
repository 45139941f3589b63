// Takes the requests of a Node.js program to the proxy that http_proxy and https_proxy name: `node --require preload.cjs`.
//
// Node 20 reads neither. From 22.21 and 24.5 on it does with NODE_USE_ENV_PROXY=1, but then `fetch` asks for a tunnel even to
// http:// hosts, so that no proxy can make https of it, and agents of a program's own ask no proxy at all. This is one for
// http, https and fetch at once, in the form that proxies are asked in by everyone else.
"use strict";

const http = require("node:http");
const https = require("node:https");
const net = require("node:net");
const tls = require("node:tls");

const variable = (name) => process.env[name] || process.env[name.toUpperCase()] || "";
const proxies = { "http:": variable("http_proxy"), "https:": variable("https_proxy") };
const exceptions = variable("no_proxy").toLowerCase().split(",").map((each) => each.trim()).filter(Boolean);

/** Return the URL of the proxy for a host, null where there is none. */
function proxyFor(protocol, host) {
  const name = host.toLowerCase().replace(/^\[|\]$/g, "");
  const direct = exceptions.some((each) => name === each || (each.startsWith(".") && name.endsWith(each)));
  return direct || !proxies[protocol] ? null : new URL(proxies[protocol]);
}

function credential(proxy) {
  if (!proxy.username) return {};
  const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return { "Proxy-Authorization": `Basic ${Buffer.from(pair).toString("base64")}` };
}

const bare = (host) => host.replace(/^\[|\]$/g, "");
const written = (host, port) => (host.includes(":") ? `[${bare(host)}]:${port}` : `${host}:${port}`);

/** Open a tunnel to a host and hand its socket, or an error, to the callback. */
function tunnel(proxy, host, port, callback) {
  const target = written(host, port);
  const request = http.request({
    host: bare(proxy.hostname), port: proxy.port || 80, method: "CONNECT", path: target, agent: false,
    headers: { Host: target, ...credential(proxy) },
  });
  request.once("connect", (response, socket) => {
    if (response.statusCode === 200) return callback(null, socket);
    socket.destroy();
    return callback(new Error(`the proxy answered CONNECT ${target} with ${response.statusCode}`));
  });
  request.once("error", callback);
  request.end();
}

function patchModules() {
  const { addRequest } = http.Agent.prototype;
  // Every agent of the program comes by here, also one that it made itself.
  http.Agent.prototype.addRequest = function (request, options, ...rest) {
    const proxy = request.protocol === "http:" && request.method !== "CONNECT" && !options.socketPath
      ? proxyFor("http:", options.host || "localhost") : null;
    if (proxy === null) return addRequest.call(this, request, options, ...rest);
    const port = Number(options.port) || 80;
    const host = port === 80 ? written(options.host, port).replace(/:80$/, "") : written(options.host, port);
    if (!/^https?:/.test(request.path)) request.path = `http://${host}${request.path}`;
    for (const [name, value] of Object.entries(credential(proxy))) request.setHeader(name, value);
    const changed = { ...options, host: bare(proxy.hostname), hostname: bare(proxy.hostname), port: Number(proxy.port) || 80 };
    return addRequest.call(this, request, changed, ...rest);
  };
  const { createConnection } = https.Agent.prototype;
  https.Agent.prototype.createConnection = function (options, callback) {
    const proxy = options.socketPath ? null : proxyFor("https:", options.host || "localhost");
    if (proxy === null) return createConnection.call(this, options, callback);
    tunnel(proxy, options.host, options.port || 443, (error, socket) => {
      if (error) callback(error);
      else callback(null, createConnection.call(this, { ...options, socket }));
    });
    return undefined;
  };
}

function patchFetch() {
  const place = Symbol.for("undici.globalDispatcher.1"); // where fetch, built in or installed, looks for its dispatcher
  void globalThis.Headers; // loads it
  const usual = globalThis[place];
  if (usual === undefined) return;

  class Through extends usual.constructor {
    dispatch(options, handler) {
      const origin = new URL(options.origin);
      const proxy = origin.protocol === "http:" ? proxyFor("http:", origin.hostname) : null;
      if (proxy === null) return super.dispatch(options, handler);
      const headers = { ...options.headers, host: origin.host, ...credential(proxy) };
      return super.dispatch({ ...options, origin: proxy.origin, path: `${origin.origin}${options.path}`, headers }, handler);
    }
  }

  globalThis[place] = new Through({
    connect(options, callback) {
      const port = Number(options.port) || (options.protocol === "https:" ? 443 : 80);
      if (options.protocol !== "https:") {
        const socket = net.connect({ host: bare(options.hostname), port });
        socket.once("error", callback);
        socket.once("connect", () => callback(null, socket.off("error", callback)));
        return;
      }
      const secure = (error, socket) => {
        if (error) return callback(error);
        const servername = options.servername || (net.isIP(bare(options.hostname)) ? undefined : options.hostname);
        const secured = tls.connect({ socket, servername, host: bare(options.hostname), port, ALPNProtocols: ["http/1.1"] });
        secured.once("error", callback);
        return secured.once("secureConnect", () => callback(null, secured.off("error", callback)));
      };
      const proxy = proxyFor("https:", options.hostname);
      if (proxy === null) secure(null, undefined);
      else tunnel(proxy, options.hostname, port, secure);
    },
  });
}

patchModules();
patchFetch();
