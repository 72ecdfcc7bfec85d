// A spoken question, a function that it calls, a spoken answer, by OpenAI's own agents SDK over WebSocket. What happened
// is one JSON object on standard output. Arguments: URL, key, "header" or "protocol" (where the key stands), a file of
// 24 kHz mono int16.
import { readFileSync } from 'node:fs';
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime';
import WebSocket from 'ws';
import { z } from 'zod';

const PIECE_BYTES = 9600;
const PATIENCE_MS = 90_000;
const [url, apiKey, place, file] = process.argv.slice(2);
const told = { errors: [], called: [], outputBytes: 0, turns: 0, transcripts: '', types: [], history: [] };

const finish = (code) => {
  process.stdout.write(`${JSON.stringify(told)}\n`, () => process.exit(code));
};
setTimeout(() => finish(1), PATIENCE_MS);

// As a browser does, which cannot set a header.
const createWebSocket = ({ url, apiKey }) => new WebSocket(url, ['realtime', `openai-insecure-api-key.${apiKey}`]);
const transport = new OpenAIRealtimeWebSocket(place === 'protocol' ? { url, createWebSocket } : { url });

const weather = tool({
  name: 'get_weather',
  description: 'Tells the weather in a city.',
  parameters: z.object({ city: z.enum(['Paris', 'Rome']) }),
  execute: async ({ city }) => {
    told.called.push(city);
    // A model as small as the embedded one would call again, or talk of tools.
    const instructions = 'You are a friendly speaker. Answer with a short sentence in plain English.';
    const changed = { type: 'realtime', instructions, tools: [], tool_choice: 'none' };
    transport.sendEvent({ type: 'session.update', session: changed });
    return `It is sunny in ${city}.`;
  },
});

const agent = new RealtimeAgent({ name: 'Weather', instructions: 'Be brief.', voice: 'marin', tools: [weather] });
const session = new RealtimeSession(agent, {
  transport,
  model: 'gpt-4o-mini',
  config: {
    toolChoice: 'required',
    parallelToolCalls: false,
    providerData: { max_output_tokens: 48 },
    audio: { input: { turnDetection: { type: 'server_vad', silenceDurationMs: 400 } } },
  },
});
session.on('error', (error) => told.errors.push(error));
session.on('audio', (event) => (told.outputBytes += event.data.byteLength));
session.on('transport_event', (event) => {
  if (told.types.at(-1) !== event.type) told.types.push(event.type);
  if (event.type === 'response.output_audio_transcript.delta') told.transcripts += event.delta;
});
transport.on('turn_done', (event) => {
  told.turns += 1;
  const spoken = event.response.output.some((item) => item.type === 'message');
  if (told.called.length > 0 && spoken) {
    // What was heard is retrieved when its transcription is complete, and is then in the history.
    setTimeout(() => {
      told.history = session.history.map((item) => ({
        type: item.type,
        role: item.role,
        text: item.content?.map((part) => part.transcript ?? part.text).join(' '),
        name: item.name,
        output: item.output,
      }));
      session.close();
      finish(0);
    }, 500);
  }
});

await session.connect({ apiKey, url });
await new Promise((resolve) => transport.once('session.updated', resolve));
const pcm = readFileSync(file);
for (let start = 0; start < pcm.length; start += PIECE_BYTES) {
  const piece = pcm.subarray(start, start + PIECE_BYTES);
  session.sendAudio(piece.buffer.slice(piece.byteOffset, piece.byteOffset + piece.length));
}
