// client.js PROTO-DIRECTORY TARGET ROOT GENERATION: a workload's life from @grpc/grpc-js.
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [protos, target, root, generation] = process.argv.slice(2);
const contract = grpc.loadPackageDefinition(loader.loadSync('berth/v1/node_agent.proto',
  { includeDirs: [protos], keepCase: true, enums: String, longs: String })).berth.v1;
const client = new contract.NodeAgent(target, grpc.credentials.createInsecure());
const fence = { epoch: '1000000', generation };
const call = (name, request) => new Promise((resolve, reject) =>
  client[name](request, { deadline: Date.now() + 20000 }, (error, answer) => error ? reject(error) : resolve(answer)));

async function main() {
  const { node } = await call('GetNode', {});
  fence.epoch = node.highest_epoch;
  const spec = { id: 'js', containers: [{ name: 'main', command: ['/bin/sh', '-c', 'echo hi from node; sleep 1000'],
    root: { directory: root }, stop_grace_ms: 200 }] };
  console.log((await call('Launch', { fence, spec })).status.state);
  await new Promise((resolve, reject) => {
    const logs = client.ReadLogs({ id: 'js', follow: true });
    logs.on('data', (answer) => answer.lines.forEach((line) => {
      console.log(line.text.toString());
      logs.cancel();
    }));
    logs.on('error', (error) => error.code === grpc.status.CANCELLED ? resolve() : reject(error));
  });
  await call('Delete', { fence, id: 'js', force: true });
  await call('Get', { id: 'js' }).then(() => process.exit(1), (error) => console.log(grpc.status[error.code]));
  client.close();
}

main().catch((error) => { console.error(error); process.exit(1); });
