// An identity provider for tests: oidc-provider on a free port of the loopback, whose people are whoever a test says.
//
//   node provider.mjs FOLDER     FOLDER has node_modules/oidc-provider
//
// Prints {"port":N} when it answers, and ends with its standard input. PUT /test/people/NAME with an object of claims
// makes somebody, or says something else of him from now on. Anybody may log in as anybody: the pages of development
// take every password.

import http from 'node:http';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

// Its notices would go where nobody reads any more once the port is known.
console.info = () => {};

const [folder] = process.argv.slice(2);
const library = path.resolve(folder, 'node_modules/oidc-provider/lib/index.js');
const { Provider } = await import(pathToFileURL(library));

const people = new Map();
const server = http.createServer();
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const { port } = server.address();

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: 'registry',
      client_secret: 'a secret with % and : in it',
      redirect_uris: ['http://127.0.0.1/auth/oidc/corp/callback'],
      response_types: ['code'],
      grant_types: ['authorization_code'],
    },
    {
      client_id: 'cli',
      token_endpoint_auth_method: 'none',
      application_type: 'native',
      redirect_uris: ['http://127.0.0.1/cli'],
      response_types: ['code'],
      grant_types: ['authorization_code'],
    },
  ],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['preferred_username'], groups: ['groups'] },
  scopes: ['openid', 'profile', 'email', 'groups'],
  // What a scope asks for is said at the userinfo endpoint. What stands in the token is asked for by `claims`.
  conformIdTokenClaims: true,
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true }, claimsParameter: { enabled: true } },
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, ...people.get(id) }),
  }),
});

// The registry of each test listens on another port.
provider.Client.prototype.redirectUriAllowed = function allowed(uri) {
  const { protocol, hostname, pathname, search, hash } = new URL(uri);
  const plain = `${protocol}//${hostname}${pathname}${search}${hash}`;
  return this.redirectUris.some((own) => plain === own);
};

const answer = provider.callback();
server.on('request', (request, response) => {
  const [, name] = request.url.match(/^\/test\/people\/(\w+)$/) ?? [];
  if (!name) {
    answer(request, response);
    return;
  }
  let body = '';
  request.on('data', (piece) => { body += piece; });
  request.on('end', () => {
    people.set(name, JSON.parse(body));
    response.writeHead(204).end();
  });
});

process.stdin.on('end', () => process.exit()).resume();
console.log(JSON.stringify({ port }));
