// Asks a Cloud KMS by Google's own client: gcp_kms.mjs PORT [TOKEN-URL]
//
// Each line of standard input is {"call": METHOD, "request": {…}} in JSON, answered by a line: {"ok": …} or {"error": …}. Bytes are base64.
// Credentials are the environment's (GOOGLE_APPLICATION_CREDENTIALS, or a metadata server). With TOKEN-URL the service account of that file
// gets its token there, and not where Google's library would go.

import {readFileSync} from 'node:fs';
import {createInterface} from 'node:readline';
import {KeyManagementServiceClient} from '@google-cloud/kms';
import {JWT, OAuth2Client} from 'google-auth-library';

const GOOGLES_OWN = 'https://oauth2.googleapis.com/token';

async function withTokenOf(tokenUrl) {
  const file = JSON.parse(readFileSync(process.env.GOOGLE_APPLICATION_CREDENTIALS, 'utf8'));
  const account = new JWT({email: file.client_email, key: file.private_key, keyId: file.private_key_id,
    scopes: ['https://www.googleapis.com/auth/cloudkms']});
  account.transporter.interceptors.request.add({
    resolved: async options => {
      if (String(options.url) === GOOGLES_OWN) options.url = new URL(tokenUrl);
      return options;
    },
  });
  const client = new OAuth2Client();
  client.setCredentials(await account.authorize());
  return client;
}

const [port, tokenUrl] = process.argv.slice(2);
let client;

async function connected() {
  const options = {fallback: true, apiEndpoint: 'localhost', port: Number(port), protocol: 'https'};
  if (tokenUrl) options.authClient = await withTokenOf(tokenUrl);
  return new KeyManagementServiceClient(options);
}

function plain(_, value) {
  return value && value.type === 'Buffer' ? Buffer.from(value.data).toString('base64') : value;
}

// The client's messages hold the answer as it came.
function statusIn(message) {
  try {
    const {error} = JSON.parse(message);
    return error.status ?? error;
  } catch {
    return '';
  }
}

async function answer(line) {
  const {call, request} = JSON.parse(line);
  try {
    client ??= await connected();
    const [said] = await client[call](request, {retry: null, timeout: 20000});
    return {ok: said};
  } catch (error) {
    return {error: {status: statusIn(String(error.message)), message: String(error.message)}};
  }
}

for await (const line of createInterface({input: process.stdin})) {
  process.stdout.write(JSON.stringify(await answer(line), plain) + '\n');
}
