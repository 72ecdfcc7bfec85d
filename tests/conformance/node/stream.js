// AssemblyAI's SDK for Node: a stream over TLS, a temporary token, a recording in one call, transcripts, a wrong key. What
// happened is one JSON object on standard output. Arguments: HTTP URL, WSS URL, key, a file of 16 kHz mono int16, a WAV.
import { readFileSync } from 'node:fs';
import { AssemblyAI } from 'assemblyai';

const PIECE_BYTES = 3200;
const PATIENCE_MS = 60_000;
const [httpUrl, wssUrl, apiKey, file, wav] = process.argv.slice(2);
const told = { streams: [], refused: null, sync: null, transcript: null };
console.warn = () => {}; // it tells warnings there, too

const finish = (code) => {
  process.stdout.write(`${JSON.stringify(told)}\n`, () => process.exit(code));
};
setTimeout(() => finish(1), PATIENCE_MS);

const client = new AssemblyAI({
  apiKey,
  baseUrl: httpUrl,
  streamingBaseUrl: httpUrl,
  syncBaseUrl: httpUrl,
  dictationBaseUrl: httpUrl,
});
const pcm = readFileSync(file);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const SILENT_PIECES = 52; // at the pace of speech: longer than a heartbeat takes

const listen = async (given) => {
  const heard = { turns: [], warnings: [], errors: [], heartbeats: [], silences: [], expiresAt: 0 };
  const transcriber = client.streaming.transcriber({
    websocketBaseUrl: wssUrl,
    sampleRate: 16_000,
    formatTurns: true,
    keytermsPrompt: ['ship'],
    connectTimeout: 10_000,
    ...given,
  });
  transcriber.on('turn', (turn) => heard.turns.push(turn));
  transcriber.on('warning', (warning) => heard.warnings.push(warning.warning));
  transcriber.on('heartbeat', (heartbeat) => heard.heartbeats.push(heartbeat));
  transcriber.on('silence', (silence) => heard.silences.push(silence));
  transcriber.on('error', (error) => heard.errors.push(String(error)));
  const begin = await transcriber.connect();
  heard.expiresAt = begin.expires_at;
  for (let at = 0; at < pcm.length; at += PIECE_BYTES) {
    transcriber.sendAudio(pcm.subarray(at, at + PIECE_BYTES));
    await sleep(25);
  }
  transcriber.updateConfiguration({ max_turn_silence: 900 });
  transcriber.forceEndpoint();
  for (let n = 0; given.acknowledgeSilence && n < SILENT_PIECES; n++) {
    transcriber.sendAudio(Buffer.alloc(PIECE_BYTES));
    await sleep(100);
  }
  await sleep(500);
  await transcriber.close();
  told.streams.push(heard);
};

await listen({ sessionHeartbeat: true, acknowledgeSilence: true });
const token = await client.streaming.createTemporaryToken({ expires_in_seconds: 60, max_session_duration_seconds: 600 });
await listen({ token });

const began = Date.now();
try {
  await listen({ apiKey: 'wrong' });
} catch (error) {
  told.refused = { code: error.code, message: error.message, tookMs: Date.now() - began };
}
const config = { sample_rate: 16_000, channels: 1, timestamps: true };
told.sync = { warm: await client.sync.warm(), ...(await client.sync.transcribe(pcm, config)) };

const polls = { pollingInterval: 200 };
const transcript = await client.transcripts.transcribe({ audio: wav, multichannel: true, language_code: 'en_us' }, polls);
const list = await client.transcripts.list({ limit: 1, status: 'completed' });
told.transcript = {
  whole: transcript,
  sentences: (await client.transcripts.sentences(transcript.id)).sentences,
  paragraphs: (await client.transcripts.paragraphs(transcript.id)).paragraphs,
  srt: await client.transcripts.subtitles(transcript.id, 'srt', 32),
  found: await client.transcripts.wordSearch(transcript.id, ['ever tried']),
  listed: list.transcripts.map((each) => [each.id, each.created.getTime()]),
  older: await client.transcripts.list(list.page_details.prev_url ?? '/v2/transcript?limit=1'),
  deleted: (await client.transcripts.delete(transcript.id)).text,
  gone: await client.transcripts.get(transcript.id).catch((error) => error.message),
};
finish(0);
