// An authorization server that is not ours (oidc-provider over TLS), and an API behind it that shows what reached it.
// Arguments: the paths of a certificate and its key, and the clients as JSON. It prints one line of JSON with where it listens.
//   issuer   the authorization server: /token, /token/revocation, /token/introspection
//   api      plain http, for nginx: GET /check answers 204 or 401 for a bearer token; anything else is echoed
//   control  plain http, for the test: GET /counts; POST /forget/TOKEN: it is no good any more, but its grant is

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import Provider, { errors } from 'oidc-provider';

const [cert, key, clients] = process.argv.slice(2);
const counts = { requests: 0, issued: {}, refused: {} }; // issued and refused by CLIENT GRANT

const listen = (server) =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));

const server = https.createServer({ cert: readFileSync(cert), key: readFileSync(key) });
const issuer = `https://localhost:${await listen(server)}`;

const provider = new Provider(issuer, {
  clients: JSON.parse(clients),
  clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
  cookies: { keys: ['only for the pages that nobody opens'] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    revocation: { enabled: true },
  },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  scopes: ['openid', 'offline_access', 'orders:read', 'orders:write'],
  ttl: { AccessToken: 600, ClientCredentials: 600, Grant: 3600, RefreshToken: 3600 },
});

provider.registerGrantType(
  'password',
  async (ctx) => {
    const { client, params } = ctx.oidc;
    if (params.username !== 'alice' || params.password !== 'wonder & land = 1') {
      throw new errors.InvalidGrant('the password is wrong');
    }
    const grant = new provider.Grant({ accountId: 'alice', clientId: client.clientId });
    grant.addOIDCScope('openid offline_access');
    const grantId = await grant.save();
    const common = { accountId: 'alice', client, grantId, gty: 'password', scope: 'openid offline_access' };
    const access = new provider.AccessToken(common);
    const refresh = new provider.RefreshToken({ ...common, rotations: 0 });
    ctx.oidc.entity('Grant', grant);
    ctx.body = {
      access_token: await access.save(),
      expires_in: access.expiration,
      refresh_token: await refresh.save(),
      scope: common.scope,
      token_type: 'Bearer',
    };
  },
  ['username', 'password', 'scope'],
);
const count = (kind, ctx) => {
  const { params, client } = ctx.oidc;
  const name = `${client?.clientId ?? '-'} ${params?.grant_type ?? '-'}`;
  counts[kind][name] = (counts[kind][name] ?? 0) + 1;
};
provider.on('grant.success', (ctx) => count('issued', ctx));
provider.on('grant.error', (ctx) => count('refused', ctx));
provider.on('server_error', (ctx, error) => console.error(error));

const answer = provider.callback();
server.on('request', (request, response) => {
  counts.requests += request.url === '/token' ? 1 : 0;
  answer(request, response);
});

const live = async (token) =>
  (await provider.ClientCredentials.find(token)) ?? (await provider.AccessToken.find(token));

const api = http.createServer(async (request, response) => {
  if (request.url === '/check') {
    const [scheme, token] = (request.headers.authorization ?? '').split(' ');
    const allowed = scheme === 'Bearer' && token && (await live(token));
    response.writeHead(allowed ? 204 : 401).end();
    return;
  }
  const hash = createHash('sha256');
  let length = 0;
  for await (const piece of request) {
    hash.update(piece);
    length += piece.length;
  }
  const { method, url, rawHeaders } = request;
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify({ method, url, headers: rawHeaders, length, sha256: hash.digest('hex') }));
});

const control = http.createServer(async (request, response) => {
  if (request.method === 'POST') await (await live(request.url.split('/').at(-1))).destroy();
  response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(counts));
});

console.log(JSON.stringify({ issuer, api: await listen(api), control: await listen(control) }));
process.stdin.resume().on('end', () => process.exit(0));
