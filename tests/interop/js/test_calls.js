// The client of @grpc/grpc-js against our server, over a unix socket and over TCP with certificates both ways.
const assert = require('assert');
const { grpc, echo, certificate, file, content, start, tell, suite } = require('./harness');

const { status } = grpc;
const soon = (ms = 20000) => ({ deadline: Date.now() + ms });
const options = { 'grpc.use_local_subchannel_pool': 1, 'grpc.max_receive_message_length': -1 };

/** {code: 0, answer} or {code, details} of a unary call or a client's stream; `write` gets the call. */
const outcome = (client, method, request, more = {}) => new Promise((resolve) => {
  const done = (error, answer) => resolve(error || { code: 0, answer });
  const call = request === undefined ? client[method](more.metadata || new grpc.Metadata(), soon(more.ms), done)
    : client[method](request, more.metadata || new grpc.Metadata(), soon(more.ms), done);
  if (more.write) more.write(call);
});
/** All messages of a stream of answers, and its status. */
const collected = (call) => new Promise((resolve) => {
  const messages = [];
  call.on('data', (message) => messages.push(message));
  call.on('error', () => {}); // told by its status, too
  call.on('status', (end) => resolve({ messages, code: end.code }));
});
const sent = (call, requests) => {
  const next = () => {
    for (let more = true; more;) {
      const { value, done } = requests.next();
      if (done) { call.end(); return; }
      more = call.write(value);
    }
    call.once('drain', next);
  };
  next();
};
function* times(n, make) { for (let i = 0; i < n; i++) yield make(i); }
const until = async (client, condition) => { // of the server, which tells of nothing by itself
  for (const deadline = Date.now() + 20000; ;) {
    const { answer } = await outcome(client, 'GetStats', {});
    if (condition(answer)) return;
    assert(Date.now() < deadline, `not in 20 s: ${condition}, but ${JSON.stringify(answer)}`);
  }
};

const tests = (connect, peer) => {
  const client = connect();
  return {
    'unary, with metadata and a deadline': async () => {
      const metadata = new grpc.Metadata();
      metadata.set('x-test', 'value');
      const { answer } = await outcome(client, 'Echo', { text: 'hällo' }, { metadata });
      assert.equal(answer.text, 'hällo');
      assert.equal(answer.metadata, 'value');
      assert.match(answer.peer, peer);
      assert(answer.timeout_ms > 10000 && answer.timeout_ms <= 20000, `${answer.timeout_ms} ms are left`);
    },
    'four mebibytes, and over the limit': async () => {
      const payload = Buffer.alloc((4 << 20) - 100, 'x');
      assert.deepEqual((await outcome(client, 'Echo', { payload })).answer.payload, payload);
      const more = Buffer.alloc(payload.length + 200);
      assert.equal((await outcome(client, 'Echo', { payload: more })).code, status.RESOURCE_EXHAUSTED);
      assert.equal((await outcome(client, 'Echo', { text: 'still here' })).answer.text, 'still here');
    },
    'failures with unicode, percent and newline, and with details': async () => {
      const text = 'größer als 100%\nzweite Zeile %41';
      const error = await outcome(client, 'Echo', { text, fail_code: 9, details: true });
      assert.deepEqual([error.code, error.details], [status.FAILED_PRECONDITION, text]);
      const details = error.metadata.get('grpc-status-details-bin')[0].toString('latin1');
      for (const part of ['google.rpc.BadRequest', 'workload.id', 'google.rpc.RetryInfo', 'TEST_REASON']) {
        assert(details.includes(part), part);
      }
    },
    'an unknown method': async () => {
      const bytes = (b) => b;
      const code = await new Promise((resolve) => client.makeUnaryRequest('/berth.test.v1.Echo/Nothing', bytes, bytes,
        Buffer.alloc(0), soon(), (error) => resolve(error.code)));
      assert.equal(code, status.UNIMPLEMENTED);
    },
    'a deadline, and a call that is cancelled': async () => {
      assert.equal((await outcome(client, 'Hold', {}, { ms: 200 })).code, status.DEADLINE_EXCEEDED);
      await until(client, (now) => now.held === 0);
      let held;
      const cancelled = outcome(client, 'Hold', {}, { write: (call) => { held = call; } });
      await until(client, (now) => now.held === 1);
      held.cancel();
      assert.equal((await cancelled).code, status.CANCELLED);
      await until(client, (now) => now.held === 0);
    },
    'a stream of answers': async () => {
      const many = await collected(client.Count({ count: 5000, payload_bytes: 100 }, soon()));
      assert.equal(many.code, 0);
      assert.deepEqual(many.messages.map((m) => m.index), [...Array(5000).keys()]);
      const large = await collected(client.Count({ count: 30, payload_bytes: 1000000 }, soon()));
      assert.equal(large.messages.reduce((sum, m) => sum + m.payload.length, 0), 30000000);
      const failing = await collected(client.Count({ count: 100, fail_after: 5 }, soon()));
      assert.deepEqual([failing.code, failing.messages.length], [status.ABORTED, 5]);
    },
    'an endless stream ends when its reader leaves': async () => {
      const call = client.Count({ count: 1e15, payload_bytes: 1000 }, soon());
      call.on('data', ({ index }) => { if (index === 10) call.cancel(); });
      assert.equal((await collected(call)).code, status.CANCELLED);
      await until(client, (now) => now.calls === 1);
    },
    'a stream of requests': async () => {
      const none = await outcome(client, 'Sum', undefined, { write: (call) => call.end() });
      assert.equal(none.answer.messages, 0);
      const payload = Buffer.alloc(100);
      const { answer } = await outcome(client, 'Sum', undefined,
        { write: (call) => sent(call, times(3000, () => ({ payload }))) });
      assert.deepEqual([answer.messages, answer.payload_bytes], [3000, 300000]);
      const early = await outcome(client, 'Sum', undefined,
        { write: (call) => call.write({ fail_code: 10, text: 'enough' }) });
      assert.deepEqual([early.code, early.details], [status.ABORTED, 'enough']);
    },
    'both ways, by turns': async () => {
      const call = client.Chat(soon());
      let turns = 0;
      call.on('data', ({ text }) => {
        assert.equal(text, String(turns));
        turns++;
        if (turns < 200) call.write({ text: String(turns) }); else call.end();
      });
      call.write({ text: '0' });
      assert.equal((await collected(call)).code, 0);
      assert.equal(turns, 200);
    },
    'both ways, two thousand without waiting': async () => {
      const call = client.Chat(soon());
      sent(call, times(2000, (i) => ({ text: String(i) })));
      const { messages, code } = await collected(call);
      assert.equal(code, 0);
      assert.deepEqual(messages.map((m) => m.text), [...Array(2000).keys()].map(String));
    },
    'compression is unimplemented': async () => {
      const packing = connect({ 'grpc.default_compression_algorithm': grpc.compressionAlgorithms.gzip });
      assert.equal((await outcome(packing, 'Echo', { text: 'x'.repeat(1000) })).code, status.UNIMPLEMENTED);
      packing.close();
    },
    'metadata that is too big harms that call alone': async () => {
      const own = connect();
      const metadata = new grpc.Metadata();
      metadata.set('x-big', 'v'.repeat(20000));
      assert.equal((await outcome(own, 'Echo', {}, { metadata })).code, status.RESOURCE_EXHAUSTED);
      assert.equal((await outcome(own, 'Echo', { text: 'a' })).answer.text, 'a');
      own.close();
    },
    'a thousand at once on a fresh channel': async () => {
      const own = connect();
      const answers = await Promise.all([...times(1000, (i) => outcome(own, 'Echo', { text: String(i) }, { ms: 60000 }))]);
      assert.deepEqual(answers.map((o) => o.answer && o.answer.text), [...Array(1000).keys()].map(String));
      own.close();
    },
    'fifteen hundred quick cancels do no harm': async () => {
      const own = connect();
      await outcome(own, 'Echo', {});
      // In the next turn: of calls that are cancelled as they are made, node 20 keeps the RST_STREAM to itself.
      const cancelled = [...times(1500, () => outcome(own, 'Hold', {}, { write: (call) => setImmediate(() => call.cancel()) }))];
      assert((await Promise.all(cancelled)).every((o) => o.code === status.CANCELLED));
      for (let i = 0; i < 200; i++) assert.equal((await outcome(own, 'Echo', { text: 'fine' })).answer.text, 'fine');
      own.close();
      await until(client, (now) => now.held === 0);
    },
  };
};

suite(async () => {
  certificate('ca');
  certificate('server', 'subjectAltName=DNS:localhost,IP:127.0.0.1', 'extendedKeyUsage=serverAuth');
  certificate('client', 'subjectAltName=DNS:client.example', 'extendedKeyUsage=clientAuth');
  const { child, line } = await start('echo_server', ['--unix', file('socket'), '--tcp', '127.0.0.1:0', '--cert',
    file('server.pem'), '--key', file('server.key'), '--ca', file('ca.pem')]);
  const tcp = `localhost:${line.split(' ')[1]}`;
  const certain = (name) => grpc.credentials.createSsl(content('ca.pem'), name && content(`${name}.key`), name && content(`${name}.pem`));

  await tell('js-unix', tests((more) => new echo(`unix://${file('socket')}`, grpc.credentials.createInsecure(), { ...options, ...more }),
    /^unix:pid=\d+,uid=\d+/));
  await tell('js-mtls', tests((more) => new echo(tcp, certain('client'), { ...options, ...more }), /^127\.0\.0\.1:\d+ \(client\.example\)/));
  await tell('js-tcp', {
    'without TLS nobody is served': async () => {
      assert.equal((await outcome(new echo(tcp, grpc.credentials.createInsecure()), 'Echo', {}, { ms: 5000 })).code, status.UNAVAILABLE);
    },
    'nor without a certificate of its own': async () => {
      assert.equal((await outcome(new echo(tcp, certain()), 'Echo', {}, { ms: 5000 })).code, status.UNAVAILABLE);
    },
    'the server ends cleanly': async () => {
      child.kill('SIGTERM');
      assert.equal(await child.ended, 0);
    },
  });
});
