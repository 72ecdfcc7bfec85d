// Transcribes a file of PCM with Amazon's SDK, as Node runs it or, with "browser", as browsers do, over their WebSocket:
// node transcribe.js URL KEY FILE RATE node|browser [LANGUAGE]
// The last line says what came, as JSON.

const { readFileSync } = require("fs");
const { StartStreamTranscriptionCommand, TranscribeStreamingClient } = require("@aws-sdk/client-transcribe-streaming");
const { WebSocketFetchHandler } = require("@aws-sdk/middleware-websocket");
const { eventStreamPayloadHandler } = require("@aws-sdk/middleware-sdk-transcribe-streaming");

const CHUNK_MS = 100;
const PACE = 2;
const [endpoint, key, path, rate, kind, language] = process.argv.slice(2);
const browser = kind === "browser";
const silence = browser ? 3000 / CHUNK_MS : 0; // a browser's socket is closed behind the last audio

const client = new TranscribeStreamingClient({
  region: "eu-west-1",
  endpoint,
  credentials: { accessKeyId: "anything", secretAccessKey: key, sessionToken: key },
  ...(browser && {
    requestHandler: new WebSocketFetchHandler(async () => ({}), { handle: () => Promise.reject(new Error("HTTP")) }),
    eventStreamPayloadHandlerProvider: () => eventStreamPayloadHandler,
  }),
});

async function* audio() {
  const pcm = readFileSync(path).subarray(44);
  const size = (Number(rate) / 1000) * CHUNK_MS * 2;
  for (let at = 0; at < pcm.length + silence * size; at += size) {
    const chunk = at < pcm.length ? pcm.subarray(at, at + size) : Buffer.alloc(size);
    yield { AudioEvent: { AudioChunk: chunk } };
    await new Promise((resolve) => setTimeout(resolve, CHUNK_MS / PACE));
  }
}

async function main() {
  const told = { texts: [], partials: 0, error: null };
  try {
    const answer = await client.send(
      new StartStreamTranscriptionCommand({
        LanguageCode: language || "en-US",
        MediaSampleRateHertz: Number(rate),
        MediaEncoding: "pcm",
        EnablePartialResultsStabilization: true,
        AudioStream: audio(),
      }),
    );
    told.session = answer.SessionId;
    for await (const event of answer.TranscriptResultStream) {
      for (const result of event.TranscriptEvent?.Transcript?.Results ?? []) {
        if (result.IsPartial) told.partials += 1;
        else told.texts.push(result.Alternatives[0].Transcript);
      }
    }
  } catch (error) {
    told.error = error.name;
  }
  console.log(JSON.stringify(told));
  process.exit(0);
}

main();
