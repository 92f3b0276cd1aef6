// Asks a Key Vault or Managed HSM by Azure's own client: azure_keys.mjs PORT HOST CLIENT-ID
//
// HOST is the vault's name, and PORT where localhost stands for it and for who gives tokens. Each line of standard input is
// {"call": METHOD, "key": KEY-ID, "request": […]} in JSON, of KeyClient's methods without a key and of CryptographyClient's with one,
// answered by a line: {"ok": …} or {"error": …}. Bytes are {"base64": TEXT}. AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE shows who we
// are. Tokens are asked of the tenant and for the scope that the vault's challenge names.

import {readFileSync} from 'node:fs';
import {Agent} from 'node:https';
import {createInterface} from 'node:readline';
import {CryptographyClient, KeyClient} from '@azure/keyvault-keys';

const [port, host, clientId] = process.argv.slice(2);

const credential = {
  async getToken(scopes, {tenantId}) {
    const form = new URLSearchParams({grant_type: 'client_credentials', client_id: clientId, scope: [].concat(scopes).join(' ')});
    if (process.env.AZURE_CLIENT_SECRET) {
      form.set('client_secret', process.env.AZURE_CLIENT_SECRET);
    } else {
      form.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
      form.set('client_assertion', readFileSync(process.env.AZURE_FEDERATED_TOKEN_FILE, 'utf8').trim());
    }
    const response = await fetch(`https://localhost:${port}/${tenantId}/oauth2/v2.0/token`, {method: 'POST', body: form});
    const said = await response.json();
    if (!response.ok) throw new Error(said.error_description);
    return {token: said.access_token, expiresOnTimestamp: Date.now() + said.expires_in * 1000};
  },
};

// What all clients do comes before: to them the vault is where its name says.
const agent = new Agent({keepAlive: true, servername: 'localhost'});
const here = {
  name: 'here',
  async sendRequest(request, next) {
    const meant = request.url;
    const url = new URL(meant);
    request.headers.set('Host', url.host);
    request.agent = agent;
    request.url = `https://localhost:${port}${url.pathname}${url.search}`;
    try {
      return await next(request);
    } finally {
      request.url = meant;
    }
  },
};

const options = {serviceVersion: '7.4', additionalPolicies: [{policy: here, position: 'perRetry'}], retryOptions: {maxRetries: 0}};
const keys = new KeyClient(`https://${host}`, credential, options);

function given(_, value) {
  return value && typeof value.base64 === 'string' ? new Uint8Array(Buffer.from(value.base64, 'base64')) : value;
}

function plain(_, value) {
  if (value instanceof Uint8Array) return {base64: Buffer.from(value).toString('base64')};
  return value && value.type === 'Buffer' ? {base64: Buffer.from(value.data).toString('base64')} : value;
}

async function answer(line) {
  const {call, key, request} = JSON.parse(line, given);
  try {
    const client = key ? new CryptographyClient(key, credential, options) : keys;
    return {ok: (await client[call](...request)) ?? null};
  } catch (error) {
    return {error: {status: error.statusCode ?? 0, code: error.code ?? '', message: String(error.message)}};
  }
}

for await (const line of createInterface({input: process.stdin})) {
  process.stdout.write(JSON.stringify(await answer(line), plain) + '\n');
}
