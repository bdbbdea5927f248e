// Lambda's runtime loop in a few lines: `node runtime.mjs callback`. AWS's own client for Node is partly C++ and has to be
// compiled where it is installed; this one loads nothing but Node's HTTP, so it can only flatter Node's times.

import http from 'node:http';

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port, method, agent, path: `/2018-06-01/runtime/${path}` }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve({ headers: response.headers, body: Buffer.concat(parts).toString() }));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

const { handler } = await import(`./${process.argv[2]}.mjs`);
for (;;) {
  const next = await call('GET', 'invocation/next');
  const id = next.headers['lambda-runtime-aws-request-id'];
  try {
    const answer = await handler(JSON.parse(next.body));
    await call('POST', `invocation/${id}/response`, JSON.stringify(answer));
  } catch (error) {
    await call('POST', `invocation/${id}/error`, JSON.stringify({ errorType: error.name, errorMessage: error.message }));
  }
}
