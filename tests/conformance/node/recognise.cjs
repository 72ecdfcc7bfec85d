// Google's own SDK for Node against a server: v2 and v1, a stream and a recording of each. What was heard is one JSON object on
// standard output. Arguments: host, port, key, "plain" or "tls", a WAV file of 16 kHz mono int16 and where it can be fetched.
// Operations are over TLS only: on a plain port their polls have no key.
const {readFileSync} = require('node:fs');
const {v1, v2} = require('@google-cloud/speech');
const {credentials} = require('@grpc/grpc-js');

const [host, port, key, how, path, uri] = process.argv.slice(2);
const wav = readFileSync(path);
const pcm = wav.subarray(44);
const plain = how === 'plain';
const options = {apiEndpoint: host, port: Number(port)};
if (plain) {
  options.sslCreds = credentials.createInsecure();
} else {
  options.apiKey = key;
}
const call = plain ? {otherArgs: {headers: {'x-goog-api-key': key}}} : {};
const recognizer = 'projects/p/locations/global/recognizers/_';
const features = {enableWordTimeOffsets: true};
const raw = {encoding: 'LINEAR16', sampleRateHertz: 16000};
const text = (results) => results.map((result) => result.alternatives[0].transcript.trim()).join(' ');

function heard(stream, send) {
  return new Promise((resolve, reject) => {
    const finals = [];
    let last;
    stream.on('data', (response) => {
      finals.push(...response.results.filter((result) => result.isFinal));
      last = response;
    });
    stream.on('error', reject);
    stream.on('end', () => resolve({text: text(finals), last}));
    send(stream);
    stream.end();
  });
}

async function main() {
  const told = {};
  const second = new v2.SpeechClient(options);
  const config = {explicitDecodingConfig: {...raw, audioChannelCount: 1}, languageCodes: ['en-US'], model: 'long', features};
  const v2Stream = await heard(second._streamingRecognize(call), (stream) => {
    stream.write({recognizer, streamingConfig: {config}});
    for (let at = 0; at < pcm.length; at += 25600) stream.write({audio: pcm.subarray(at, at + 25600)});
  });
  told.v2Stream = v2Stream.text;
  told.billed = Number(v2Stream.last.metadata.totalBilledDuration.seconds);
  const [whole] = await second.recognize({recognizer, config: {autoDecodingConfig: {}, languageCodes: ['en-US']}, content: wav}, call);
  told.v2 = text(whole.results);
  try {
    await second.recognize({recognizer, config: {autoDecodingConfig: {}, languageCodes: ['fr-FR']}, content: wav}, call);
  } catch (error) {
    told.refused = {code: error.code, reason: error.reason, details: error.statusDetails.length};
  }
  const first = new v1.SpeechClient(options);
  const older = {...raw, languageCode: 'en-US'};
  const [v1Whole] = await first.recognize({config: older, audio: {content: pcm}}, call);
  told.v1 = text(v1Whole.results);
  if (!plain) {
    const parent = 'projects/p/locations/global';
    const config = {autoDecodingConfig: {}, languageCodes: ['en-US']};
    const [creating] = await second.createRecognizer({parent, recognizerId: 'node', recognizer: {defaultRecognitionConfig: config}});
    const [made] = await creating.promise();
    const [begun] = await second.batchRecognize({recognizer: made.name, files: [{uri}], recognitionOutputConfig: {inlineResponseConfig: {}}});
    const [batch, metadata] = await begun.promise();
    told.batch = text(batch.results[uri].inlineResult.transcript.results);
    told.percent = metadata.progressPercent;
    const again = await second.checkBatchRecognizeProgress(begun.name);
    told.again = text(again.result.results[uri].transcript.results);
    const [recognizers] = await second.listRecognizers({parent});
    told.recognizers = recognizers.map((each) => each.recognizerId ?? each.name.split('/').pop());
    const [deleting] = await second.deleteRecognizer({name: made.name});
    told.deleted = (await deleting.promise())[0].state;
    const [long] = await first.longRunningRecognize({config: {languageCode: 'en-US'}, audio: {uri}});
    told.long = text((await long.promise())[0].results);
    // The helper takes raw buffers, and sends them as they are.
    const v1Stream = await heard(first.streamingRecognize({config: older}), (stream) => {
      for (let at = 0; at < pcm.length; at += 40000) stream.write(pcm.subarray(at, at + 40000));
    });
    told.v1Stream = v1Stream.text;
  }
  process.stdout.write(JSON.stringify(told));
  await Promise.all([first.close(), second.close()]);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
