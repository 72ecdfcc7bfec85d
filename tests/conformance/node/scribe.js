// ElevenLabs' SDK for Node has a recording and a live stream transcribed, with a key and with single-use tokens. What
// happened is one JSON object on standard output. Arguments: URL, key, a WAV file of 16 kHz mono int16.
import { readFileSync } from 'node:fs';
import { AudioFormat, CommitStrategy, ElevenLabsClient, RealtimeEvents } from '@elevenlabs/elevenlabs-js';

const HEAD_BYTES = 44;
const PIECE_BYTES = 3200;
const PATIENCE_MS = 90_000;
const [baseUrl, apiKey, file] = process.argv.slice(2);
const told = {};

const finish = (code) => {
  process.stdout.write(`${JSON.stringify(told)}\n`, () => process.exit(code));
};
setTimeout(() => finish(1), PATIENCE_MS);

const client = new ElevenLabsClient({ baseUrl, apiKey });
const recording = readFileSync(file);
const refused = async (asked) => {
  try {
    await asked();
  } catch (error) {
    return { status: error.statusCode, body: error.body };
  }
};

// Resolves with what a connection was told, by type, once `done` is, or once it is closed.
const listen = async (options, talk) => {
  const heard = { committed: [], timed: [], partials: 0, errors: [], types: [] };
  const connection = await client.speechToText.realtime.connect({
    modelId: 'scribe_v2_realtime',
    audioFormat: AudioFormat.PCM_16000,
    sampleRate: 16_000,
    ...options,
  });
  connection.on(RealtimeEvents.PARTIAL_TRANSCRIPT, () => (heard.partials += 1));
  connection.on(RealtimeEvents.COMMITTED_TRANSCRIPT, (message) => heard.committed.push(message.text));
  connection.on(RealtimeEvents.ERROR, (message) => heard.errors.push(message.message_type ?? String(message)));
  await new Promise((resolve) => {
    connection.on(RealtimeEvents.COMMITTED_TRANSCRIPT_WITH_TIMESTAMPS, (message) => {
      heard.timed.push(message.words.length);
      resolve();
    });
    connection.on(RealtimeEvents.CLOSE, resolve);
    connection.on(RealtimeEvents.SESSION_STARTED, () => talk(connection));
  });
  connection.close();
  return heard;
};

const speak = (connection) => {
  for (let at = HEAD_BYTES; at < recording.length; at += PIECE_BYTES) {
    connection.send({ audioBase64: recording.subarray(at, at + PIECE_BYTES).toString('base64') });
  }
  connection.commit();
};

const whole = await client.speechToText.convert({
  modelId: 'scribe_v2',
  file: new Blob([recording]),
  keyterms: ['tried', 'failed'],
  additionalFormats: [{ format: 'srt', maxCharactersPerLine: 20 }],
});
told.text = whole.text;
told.words = whole.words.length;
told.subtitles = whole.additionalFormats[0].content;
told.refused = await refused(() => client.speechToText.convert({ modelId: 'scribe_v9', file: new Blob([recording]) }));
told.redaction = await refused(() =>
  client.speechToText.convert({ modelId: 'scribe_v2', file: new Blob([recording]), entityRedaction: ['phi'] }),
);

const strategy = { commitStrategy: CommitStrategy.MANUAL, includeTimestamps: true };
told.live = await listen(strategy, speak);

const { token } = await client.tokens.singleUse.create('realtime_scribe');
told.byToken = await listen({ ...strategy, token }, speak);
told.again = await listen({ ...strategy, token }, () => {});
const batch = await client.tokens.singleUse.create('batch_scribe');
const byToken = await client.speechToText.convert({ modelId: 'scribe_v2', file: new Blob([recording]), token: batch.token });
told.wholeByToken = byToken.text;

const hooks = client.webhooks;
const settings = { authType: 'hmac', name: 'node', webhookUrl: 'https://example.com/hook', requestHeaders: { 'x-a': 'b' } };
const hook = await hooks.create({ settings });
await hooks.update(hook.webhookId, { isDisabled: true, name: 'renamed', retryEnabled: false, events: ['speech_to_text'] });
const { webhooks } = await hooks.list({ includeUsages: true });
told.hook = webhooks.find((each) => each.webhookId === hook.webhookId);
told.secret = hook.webhookSecret.slice(0, 5);
told.deleted = (await hooks.delete(hook.webhookId)).status;
finish(0);
