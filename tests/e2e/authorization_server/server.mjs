// An authorization server that is not ours (oidc-provider over TLS), and an API behind it that shows what reached it.
// Arguments: the paths of a certificate, its key and the authority of clients' certificates, and the clients as JSON; a client
// may have its `public_key` or `certificate` as PEM instead of `jwks`. It prints one line of JSON with where it listens.
//   issuer   the authorization server: /.well-known/openid-configuration names the rest. Its human is alice, who says yes
//   api      plain http, for nginx: GET /check answers 204 or 401 for a bearer token; anything else is echoed
//   control  plain http, for the test: GET /counts; POST /forget/TOKEN: it is no good any more, but its grant is

import { createHash, createPublicKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import Provider, { errors } from 'oidc-provider';

const [cert, key, ca, written] = process.argv.slice(2);
// issued and refused by CLIENT GRANT, revoked by CLIENT, challenges (of PKCE) by CLIENT METHOD
const counts = { requests: 0, issued: {}, refused: {}, revoked: {}, challenges: {} };

const listen = (server) =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));

// A certificate is asked of everyone and decided upon by those who need one (RFC 8705 §2).
const server = https.createServer({
  ca: readFileSync(ca),
  cert: readFileSync(cert),
  key: readFileSync(key),
  rejectUnauthorized: false,
  requestCert: true,
});
const issuer = `https://localhost:${await listen(server)}`;

const registered = ({ public_key: publicKey, certificate, ...client }) => {
  if (publicKey) client.jwks = { keys: [createPublicKey(publicKey).export({ format: 'jwk' })] };
  if (certificate) {
    const { publicKey: own, raw } = new X509Certificate(certificate);
    client.jwks = { keys: [{ ...own.export({ format: 'jwk' }), x5c: [raw.toString('base64')] }] };
  }
  return client;
};

const ALGORITHMS = [
  ...['HS', 'RS', 'PS', 'ES'].flatMap((family) => ['256', '384', '512'].map((bits) => family + bits)),
  'EdDSA',
];

const provider = new Provider(issuer, {
  clients: JSON.parse(written).map(registered),
  clientAuthMethods: [
    'client_secret_basic',
    'client_secret_post',
    'client_secret_jwt',
    'private_key_jwt',
    'tls_client_auth',
    'self_signed_tls_client_auth',
    'none',
  ],
  enabledJWA: { clientAuthSigningAlgValues: ALGORITHMS },
  cookies: { keys: ['only for the pages that nobody opens'] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    mTLS: {
      enabled: true,
      selfSignedTlsClientAuth: true,
      tlsClientAuth: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate(),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_san_dns' &&
        ctx.socket.getPeerX509Certificate().subjectAltName === `DNS:${expected}`,
    },
    revocation: { enabled: true },
  },
  interactions: { url: (ctx, interaction) => `/alice/${interaction.uid}` },
  pkce: { required: (ctx, client) => client.clientAuthMethod === 'none' },
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
const count = (kind, ...words) => {
  const name = words.map((word) => word ?? '-').join(' ');
  counts[kind][name] = (counts[kind][name] ?? 0) + 1;
};
const whose = (ctx) => ctx.oidc.client?.clientId;
provider.on('grant.success', (ctx) => count('issued', whose(ctx), ctx.oidc.params?.grant_type));
provider.on('grant.error', (ctx, error) => {
  count('refused', whose(ctx), ctx.oidc.params?.grant_type);
  if (error.error !== 'authorization_pending') console.error(error.error, error.error_detail ?? '');
});
provider.on('authorization.success', (ctx) => count('challenges', whose(ctx), ctx.oidc.params.code_challenge_method));
provider.on('grant.revoked', (ctx) => count('revoked', whose(ctx)));
provider.on('server_error', (ctx, error) => console.error(error));

// Alice signs in where she is asked to, and allows whatever a client wants.
const consent = async (request, response) => {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') return { login: { accountId: 'alice' } };
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  return { consent: { grantId: await grant.save() } };
};

const answer = provider.callback();
server.on('request', async (request, response) => {
  counts.requests += request.url === '/token' ? 1 : 0;
  if (!request.url.startsWith('/alice/')) return answer(request, response);
  const result = await consent(request, response);
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
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
