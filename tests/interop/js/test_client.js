// Our client against the server of @grpc/grpc-js, over a unix socket and over TCP with certificates both ways.
const assert = require('assert');
const { grpc, echo, certificate, file, content, run, tell, suite } = require('./harness');

const handlers = {
  Echo(call, answer) {
    const { text, payload, fail_code: code } = call.request;
    if (code) answer({ code, details: text }); else answer(null, { text, payload });
  },
  Hold() {}, // and never an answer
  Count(call) {
    const payload = Buffer.alloc(call.request.payload_bytes);
    let index = 0;
    const send = () => {
      while (index < call.request.count) {
        if (!call.write({ index: index++, payload })) { call.once('drain', send); return; }
      }
      call.end();
    };
    send();
  },
  Sum(call, answer) {
    let messages = 0;
    call.on('data', () => { messages++; });
    call.on('end', () => answer(null, { messages }));
  },
  Chat(call) {
    call.on('data', ({ text }) => call.write({ text }));
    call.on('end', () => call.end());
  },
};

const tests = (target, certificates) => {
  const calls = (...words) => run('echo_client', [...certificates, target, ...words]);
  const begins = async (wanted, ...words) => {
    const text = await calls(...words);
    assert.equal(text.slice(0, wanted.length), wanted, text);
  };
  return {
    'every kind of call': async () => {
      assert.equal(await calls('echo', 'hällo'), 'OK 1 hällo');
      await begins('OK 5000 ', 'count', '5000', '100');
      await begins('OK 12 ', 'count', '12', '1000000');
      await begins('OK 0 ', 'count', '0', '0');
      assert.equal(await calls('sum', '3000', '500'), 'OK 1 3000');
      assert.equal(await calls('sum', '0', '0'), 'OK 1 0');
      await begins('OK 2000 ', 'chat', '2000', '100');
      await begins('OK 1 ', 'payload', String(5 << 20));
    },
    'failures arrive with their text': async () => {
      assert.equal(await calls('fail', '100% größer\tals'), 'ABORTED 0 100% größer\tals');
      await begins('UNIMPLEMENTED 0 ', 'nothing');
    },
    'a deadline is kept here': () => begins('DEADLINE_EXCEEDED 0 ', 'hold', '200'),
  };
};

suite(async () => {
  certificate('ca');
  certificate('other');
  certificate('server', 'subjectAltName=DNS:localhost,IP:127.0.0.1', 'extendedKeyUsage=serverAuth');
  certificate('client', 'subjectAltName=DNS:client.example', 'extendedKeyUsage=clientAuth');
  const server = new grpc.Server({ 'grpc.max_receive_message_length': -1 });
  server.addService(echo.service, handlers);
  const bound = (address, credentials) => new Promise((resolve, reject) => server.bindAsync(address, credentials,
    (error, port) => error ? reject(error) : resolve(port)));
  await bound(`unix://${file('socket')}`, grpc.ServerCredentials.createInsecure());
  const port = await bound('127.0.0.1:0', grpc.ServerCredentials.createSsl(content('ca.pem'),
    [{ private_key: content('server.key'), cert_chain: content('server.pem') }], true));
  const certificates = (ca) => ['--ca', file(`${ca}.pem`), '--cert', file('client.pem'), '--key', file('client.key')];

  await tell('js-server-unix', tests(`unix://${file('socket')}`, []));
  await tell('js-server-mtls', {
    ...tests(`localhost:${port}`, certificates('ca')),
    'a server of another authority is not believed': async () => {
      const text = await run('echo_client', [...certificates('other'), `localhost:${port}`, 'echo', 'x']);
      assert.match(text, /^UNAVAILABLE 0 .*certificate/);
    },
  });
});
