// What the suites of this folder share: certificates, programs of the build, tests with a sentence for a name.
const { execFileSync, spawn } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');
const readline = require('readline');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const build = path.join(process.env.BERTH_BUILD, 'tests/interop/grpc');
const tmp = fs.mkdtempSync(path.join(process.env.TMPDIR || os.tmpdir(), 'interop-js-'));
const echo = grpc.loadPackageDefinition(loader.loadSync(path.join(__dirname, '../grpc/echo.proto'),
  { keepCase: true, longs: Number, defaults: true })).berth.test.v1.Echo;
const children = [];

const openssl = (...args) => execFileSync('openssl', args, { cwd: tmp, stdio: 'pipe' });
const keyed = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];

/** NAME.pem and NAME.key: an authority, or, with `extensions`, a certificate issued by ca. */
function certificate(name, ...extensions) {
  const issuer = extensions.length ? ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-addext', 'basicConstraints=CA:FALSE'] : [];
  openssl('req', '-x509', ...keyed, '-subj', `/CN=${name}`, ...issuer, ...extensions.flatMap((e) => ['-addext', e]),
    '-keyout', `${name}.key`, '-out', `${name}.pem`);
}

const file = (name) => path.join(tmp, name);
const content = (name) => fs.readFileSync(file(name));

/** Start a program of the build; resolves to its first line of output. */
function start(program, args) {
  const child = spawn(path.join(build, program), args, { stdio: ['ignore', 'pipe', 'inherit'] });
  child.ended = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
  children.push(child);
  return new Promise((resolve, reject) => {
    readline.createInterface({ input: child.stdout }).once('line', (line) => resolve({ child, line }));
    child.once('exit', (code) => reject(new Error(`${program} ended with ${code} before it said a word`)));
  });
}

/** Run a program of the build to its end; resolves to what it printed, which has to be all on its standard output. */
function run(program, args) {
  const child = spawn(path.join(build, program), args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 60000 });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => { text += data; });
  return new Promise((resolve) => child.on('close', () => resolve(text.replace(/\n$/, ''))));
}

const failed = [];
/** Run the tests ({sentence: function}) one after the other, print a line for each. */
async function tell(suite, tests) {
  for (const [name, test] of Object.entries(tests)) {
    try {
      await test();
      console.log(`ok ${suite}/${name}`);
    } catch (error) {
      console.log(error.stack);
      console.log(`not ok ${suite}/${name}: ${String(error.message).replace(/\s+/g, ' ').slice(0, 300)}`);
      failed.push(name);
    }
  }
}

/** Run `main`, then end what was started, whatever came of it. */
async function suite(main) {
  const cleared = () => {
    children.forEach((child) => child.exitCode === null && child.kill('SIGKILL'));
    fs.rmSync(tmp, { recursive: true });
  };
  process.on('exit', cleared);
  process.on('SIGTERM', () => process.exit(143));
  await main();
  process.exit(failed.length ? 1 : 0);
}

module.exports = { grpc, echo, certificate, file, content, start, run, tell, suite };
