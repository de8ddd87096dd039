// An OpenID provider as it is published, on a port that is free: anybody may log in at it, by the device flow.
// Its first argument is JSON: `resource` is what tokens are for, `seconds` how long they live. It says on standard
// output where it is, and then each grant that it gives, one JSON object a line.
import { createServer } from "node:http";

import Provider from "oidc-provider";

const { resource, seconds } = JSON.parse(process.argv[2]);
const say = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "h2gate",
        application_type: "native",
        token_endpoint_auth_method: "none",
        grant_types: ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
        response_types: [],
        redirect_uris: [],
      },
    ],
    features: {
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: "storage.read:/ storage.create:/",
          audience: resource,
          accessTokenTTL: seconds,
          accessTokenFormat: "jwt",
        }),
        useGrantedResource: () => true,
      },
    },
    rotateRefreshToken: true,
    cookies: { keys: ["a key for tests"] },
  });
  provider.on("grant.success", (ctx) => say({ grant: ctx.oidc.params.grant_type }));
  provider.on("grant.error", (ctx, error) => say({ grant: ctx.oidc.params.grant_type, error: error.error }));
  provider.on("server_error", (ctx, error) => say({ error: String(error) }));
  server.on("request", provider.callback());
  say({ issuer });
});
