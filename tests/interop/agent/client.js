// client.js PROTO-DIRECTORY TARGET ROOT GENERATION [CA CERTIFICATE KEY]: every method of berth.v1 from @grpc/grpc-js,
// along one workload's life. Prints the names of the methods that it called; fails at the first answer that is wrong.
const assert = require('assert');
const { readFileSync } = require('fs');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [protos, target, root, generation, ...files] = process.argv.slice(2);
const contract = grpc.loadPackageDefinition(loader.loadSync('berth/v1/node_agent.proto',
  { includeDirs: [protos], keepCase: true, enums: String, longs: String, defaults: true, oneofs: true })).berth.v1;
const [ca, certificate, key] = files.map((name) => readFileSync(name));
const client = new contract.NodeAgent(target,
  ca ? grpc.credentials.createSsl(ca, key, certificate) : grpc.credentials.createInsecure());
const fence = { epoch: '1', generation };
const id = 'js';
const called = new Set();

const soon = () => ({ deadline: Date.now() + 20000 });
const call = (name, request = {}) => new Promise((resolve, reject) => {
  called.add(name);
  client[name](request, soon(), (error, answer) => error ? reject(error) : resolve(answer));
});
/** The messages of a stream until `enough` says so of one of them, or it ends. */
const stream = (name, request, enough = () => false) => new Promise((resolve, reject) => {
  called.add(name);
  const answers = client[name](request, soon());
  const seen = [];
  answers.on('data', (answer) => {
    seen.push(answer);
    if (enough(answer)) answers.cancel();
  });
  answers.on('error', (error) => error.code === grpc.status.CANCELLED ? resolve(seen) : reject(error));
  answers.on('end', () => resolve(seen));
});
/** Exec and Attach: all requests at once, and the answers by kind. */
const session = (name, requests) => new Promise((resolve, reject) => {
  called.add(name);
  const both = client[name](soon());
  const got = { stdout: '' };
  both.on('data', (answer) => {
    if (answer.message === 'stdout') got.stdout += answer.stdout;
    else got[answer.message] = answer[answer.message];
  });
  both.on('error', reject);
  both.on('end', () => resolve(got));
  requests.forEach((request) => both.write(request));
  both.end();
});
const refused = async (code, name, request) => {
  const error = await call(name, request).then(() => assert.fail(`${name} is not refused`), (why) => why);
  assert.equal(grpc.status[error.code], code, error.message);
  return error;
};

async function main() {
  const { node } = await call('GetNode');
  fence.epoch = node.highest_epoch;
  const spec = { id, containers: [{ name: 'main', command: ['/bin/sh', '-c', 'echo hi from node; exec cat'], stdin: true,
    root: { directory: root }, stop_grace_ms: 200, resources: { memory_limit_bytes: 32 << 20, pids_limit: 16 } }] };
  const { status } = await call('Launch', { fence, spec });
  assert.equal(status.state, 'RUNNING');
  assert.equal((await call('Get', { id })).workload.spec.containers[0].resources.memory_limit_bytes, String(32 << 20));
  assert.deepEqual((await call('List')).workloads.map((w) => w.status.id), [id]);

  const lines = await stream('ReadLogs', { id, follow: true }, (answer) => answer.lines.length > 0);
  assert.equal(String(lines[lines.length - 1].lines[0].text), 'hi from node');
  const done = await session('Exec', [{ start: { id, command: ['/bin/cat'], stdin: true } },
    { stdin: Buffer.from('größer\n') }, { stdin_closed: true }]);
  assert.deepEqual([done.stdout, done.exit.kind, done.exit.code], ['größer\n', 'EXIT_CODE', 0]);
  const reports = await stream('StreamTelemetry', { interval_ms: 100 }, (report) => report.sequence === '3');
  assert.deepEqual(reports.map((report) => report.sequence), ['1', '2', '3']);
  assert.equal(reports[0].workloads[0].workload, id);

  assert.equal((await call('Pause', { fence, id })).status.paused, true);
  assert.equal((await call('Resume', { fence, id })).status.paused, false);
  await call('UpdateResources', { fence, id, container: 'main', resources: { pids_limit: 20 } });
  assert.equal((await call('Get', { id })).workload.spec.containers[0].resources.pids_limit, '20');
  await call('Signal', { fence, id, signal: 'SIGCHLD' });
  const { actions } = await call('Reconcile', { fence, dry_run: true, desired: [] });
  assert.deepEqual(actions.map((action) => [action.id, action.verb]), [[id, 'RECONCILE_REMOVE']]);
  assert.equal((await call('SetSchedulable', { fence, schedulable: false })).node.schedulable, false);
  await refused('UNAVAILABLE', 'Launch', { fence, spec: { ...spec, id: 'other' } });
  assert.equal((await call('SetSchedulable', { fence, schedulable: true })).node.schedulable, true);

  const wrong = await refused('INVALID_ARGUMENT', 'Launch', { fence, spec: { ...spec, id: 'No ✓' } });
  assert.match(wrong.details, /spec\.id.*✓/);
  assert.match(String(wrong.metadata.get('grpc-status-details-bin')[0]), /google\.rpc\.BadRequest/);
  const attached = await session('Attach', [{ start: { id } }, { stdin: Buffer.from('to the end\n') }, { stdin_closed: true }]);
  assert.match(attached.stdout, /to the end\n$/);
  assert.equal((await call('Stop', { fence, id })).status.state, 'EXITED');
  const events = await stream('WatchEvents', { id, from_oldest: true, no_follow: true });
  const reasons = events.flatMap((answer) => answer.events).map((event) => event.reason);
  assert.equal(reasons[0], 'ACCEPTED');
  const ended = events.flatMap((answer) => answer.events).filter((event) => event.exit).pop();
  const { instance } = (await call('GetNode')).node;
  const { records } = await call('AckRecords', { fence, up_to_sequence: ended.sequence, instance });
  assert.equal(records.unacknowledged, '0');
  await call('Delete', { fence, id });
  await refused('NOT_FOUND', 'Get', { id });
  assert.deepEqual((await call('ListImages')).images, []);
  assert.equal((await call('ImageUsage')).images, 0);
  assert.equal((await call('CollectImages')).freed_bytes, '0');
  for (const name of ['GetImage', 'RemoveImage', 'VerifyImage']) await refused('NOT_FOUND', name, { reference: 'nobody/has:this' });
  const why = await stream('PullImage', { reference: 'No Name' }).then(() => assert.fail('PullImage is not refused'), (error) => error);
  assert.equal(grpc.status[why.code], 'INVALID_ARGUMENT', why.message);
  console.log([...called].sort().join(' '));
  client.close();
}

main().catch((error) => { console.error(error); process.exit(1); });
