// Deepgram's SDK for Node: live streams in every form that audio may have, as browsers open them, and recordings. What
// happened is one JSON object on standard output. Arguments: URL, key, a WAV file of 16 kHz mono int16.
import { createReadStream, readFileSync } from 'node:fs';
import { DeepgramClient } from '@deepgram/sdk';
import WebSocket from 'ws';

const HEAD_BYTES = 44;
const PIECE_BYTES = 3200;
const PATIENCE_MS = 90_000;
const [url, apiKey, file] = process.argv.slice(2);
const socketUrl = url.replace('http', 'ws');
const environment = { base: url, production: socketUrl, agent: socketUrl, agentRest: url };
const client = new DeepgramClient({ apiKey, environment });
const wav = readFileSync(file);
const told = { live: {}, files: {} };

const finish = (code) => {
  process.stdout.write(`${JSON.stringify(told)}\n`, () => process.exit(code));
};
setTimeout(() => finish(1), PATIENCE_MS);

const pieces = [];
for (let at = HEAD_BYTES; at < wav.length; at += PIECE_BYTES) pieces.push(wav.subarray(at, at + PIECE_BYTES));
const format = { model: 'nova-3', encoding: 'linear16', sample_rate: 16_000 };

const listen = async (options, convert) => {
  const heard = { finals: [], types: [], errors: [] };
  const connection = await client.listen.v1.connect({ ...format, reconnectAttempts: 0, ...options });
  connection.on('message', (message) => {
    if (!heard.types.includes(message.type)) heard.types.push(message.type);
    if (message.is_final) heard.finals.push(message.channel.alternatives[0].transcript);
    if (message.type === 'Metadata') heard.extra = message.extra;
  });
  connection.on('error', (error) => heard.errors.push(error.message));
  const closed = new Promise((resolve) => connection.on('close', resolve));
  connection.connect();
  await Promise.race([connection.waitForOpen(), closed]).catch(() => {});
  if (heard.errors.length === 0) {
    connection.sendKeepAlive({ type: 'KeepAlive' });
    for (const piece of pieces) connection.sendMedia(convert(piece));
    connection.sendFinalize({ type: 'Finalize' });
    connection.sendCloseStream({ type: 'CloseStream' });
    heard.code = (await closed).code;
  }
  return heard;
};
const same = (piece) => piece;
const copy = (piece) => piece.buffer.slice(piece.byteOffset, piece.byteOffset + piece.byteLength);

told.live.buffer = await listen({}, same);
told.live.samples = await listen({}, (piece) => new Int16Array(copy(piece)));
told.live.blob = await listen({}, (piece) => new Blob([piece]));
told.live.options = await listen(
  { interim_results: true, vad_events: true, punctuate: 'true', diarize: false, endpointing: '300', tag: ['a', 'b'],
    extra: ['x:1', 'y:2'], replace: ['tried:TRIED', 'failed:FAILED'], utterance_end_ms: 1000, mip_opt_out: true },
  copy,
);
told.refused = (await listen({ language: 'xx' }, same)).errors;

// A browser can set no header: the credential is a subprotocol.
const { access_token: token } = await client.auth.v1.tokens.grant({ ttl_seconds: 30 });
for (const protocols of [['token', apiKey], ['bearer', token]]) {
  const socket = new WebSocket(`${socketUrl}/v1/listen?${new URLSearchParams(format)}`, protocols);
  const heard = { finals: [] };
  socket.on('open', () => {
    heard.protocol = socket.protocol;
    for (const piece of pieces) socket.send(piece);
    socket.send('{"type":"CloseStream"}');
  });
  socket.on('message', (data) => {
    const message = JSON.parse(data);
    if (message.is_final) heard.finals.push(message.channel.alternatives[0].transcript);
  });
  heard.code = await new Promise((resolve) => socket.on('close', resolve));
  told.live[protocols[0]] = heard;
}

const files = { buffer: wav, stream: createReadStream(file), blob: new Blob([wav]), path: { path: file } };
for (const [name, recording] of Object.entries(files)) {
  const options = { model: 'nova-3', smart_format: true, utterances: true, utt_split: 0.6, search: ['tried', 'failed'] };
  const { results } = await client.listen.v1.media.transcribeFile(recording, options, { maxRetries: 0 });
  told.files[name] = [results.channels[0].alternatives[0].transcript, results.channels[0].search.length];
}
finish(0);
