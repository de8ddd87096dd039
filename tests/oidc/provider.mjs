// An OpenID provider as it is published, on loopback. It prints its address and follows words on standard input:
// "rotate" signs with a new key and publishes the old one too, "withdraw" publishes the newest alone, "ttl N" lets
// access tokens live N seconds. Each is answered by a line when it holds.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const AUDIENCE = 'https://gate.example';
const SCOPES = 'storage.read:/ storage.create:/ storage.modify:/ storage.create:/inbox storage.read:/a/../..';

console.info = () => {}; // its advice for production

let keys = [];
let ttl = 600;
let handle;

function addKey(kind) {
  const { privateKey } = kind === 'EC'
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
    : generateKeyPairSync('rsa', { modulusLength: 2048 });
  const kid = `key-${Date.now()}-${keys.length}`;
  keys = [{ ...privateKey.export({ format: 'jwk' }), kid, use: 'sig' }, ...keys];
}

// What the provider remembers, from one set of keys to the next.
const kept = new Map();

class Kept {
  constructor(kind) { this.kind = kind; }

  async upsert(id, payload) { kept.set(`${this.kind}:${id}`, payload); }

  async find(id) { return kept.get(`${this.kind}:${id}`); }

  async findByUid(uid) { return this.#first((each) => each.uid === uid); }

  async findByUserCode(code) { return this.#first((each) => each.userCode === code); }

  async consume(id) { (await this.find(id)).consumed = Math.floor(Date.now() / 1000); }

  async destroy(id) { kept.delete(`${this.kind}:${id}`); }

  async revokeByGrantId(id) {
    for (const [key, each] of kept) if (each.grantId === id) kept.delete(key);
  }

  #first(matches) {
    for (const [key, each] of kept) if (key.startsWith(`${this.kind}:`) && matches(each)) return each;
    return undefined;
  }
}

function configuration() {
  return {
    adapter: Kept,
    jwks: { keys },
    clients: [
      { client_id: 'h2gate', token_endpoint_auth_method: 'none', redirect_uris: [], response_types: [],
        grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'] },
      { client_id: 'instrument', client_secret: 'a-secret-of-the-tests', redirect_uris: [], response_types: [],
        grant_types: ['client_credentials'] },
    ],
    scopes: ['openid', 'offline_access', ...SCOPES.split(' ')],
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      clientCredentials: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => AUDIENCE,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: SCOPES, audience: AUDIENCE, accessTokenFormat: 'jwt', accessTokenTTL: ttl,
          jwt: { sign: { alg: keys[0].kty === 'EC' ? 'ES256' : 'RS256' } },
        }),
      },
    },
    extraTokenClaims: () => ({ groups: ['staff'] }),
    issueRefreshToken: () => true,
    rotateRefreshToken: true,
    cookies: { keys: ['for tests'] },
    pkce: { required: () => false },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    ttl: { Grant: 3600, Session: 3600, Interaction: 600, IdToken: 600, RefreshToken: 3600, DeviceCode: 600 },
  };
}

const server = createServer((request, response) => handle(request, response));
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const renew = () => { handle = new Provider(issuer, configuration()).callback(); };
  addKey('RSA');
  renew();
  console.log(issuer);
  createInterface({ input: process.stdin }).on('line', (line) => {
    const [word, value] = line.split(' ');
    if (word === 'rotate') addKey(value);
    else if (word === 'withdraw') keys = keys.slice(0, 1);
    else if (word === 'ttl') ttl = Number(value);
    renew();
    console.log('done');
  }).on('close', () => process.exit());
});
