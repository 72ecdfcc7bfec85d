// What a user of the AI SDK does first, each step with the SDK's defaults. Arguments: URL, key, a WAV file. The last line of
// standard output is a JSON object: what came of each step, or {"error"}.
import { readFileSync } from 'node:fs';
import { createDeepgram } from '@ai-sdk/deepgram';
import { createElevenLabs } from '@ai-sdk/elevenlabs';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  Output,
  embedMany,
  generateSpeech,
  transcribe,
  generateText,
  stepCountIs,
  streamText,
  tool,
} from 'ai';
import { z } from 'zod';

const [url, apiKey, file] = process.argv.slice(2);
const audio = readFileSync(file);
const baseURL = `${url}/v1`;
// These two providers know no base URL: their `fetch` sends every request here.
const here = (asked, init) => {
  const { pathname, search } = new URL(asked);
  return fetch(`${url}${pathname}${search}`, init);
};
const openai = createOpenAI({ baseURL, apiKey });
const compatible = createOpenAICompatible({ name: 'antiphon', baseURL, apiKey, supportsStructuredOutputs: true });
const deepgram = createDeepgram({ apiKey, fetch: here });
const elevenlabs = createElevenLabs({ apiKey, fetch: here });

const maxOutputTokens = 60;
const weather = tool({
  description: 'Tells the weather in a city.',
  inputSchema: z.object({ city: z.enum(['Paris', 'Rome']) }),
  execute: async ({ city }) => `It is sunny in ${city}.`,
});
const fruit = Output.object({ schema: z.object({ name: z.enum(['apple', 'banana']), ripe: z.boolean() }) });

// The same steps by each of OpenAI's three ways: responses, chat, and chat as any compatible server speaks it.
const language = (model, providerOptions) => ({
  chat: async () => {
    const { text, usage } = await generateText({ model, prompt: 'Name a colour.', maxOutputTokens });
    return { text, tokens: usage.outputTokens };
  },
  streamed: async () => {
    const errors = [];
    const onError = ({ error }) => errors.push(String(error));
    const { textStream, finishReason } = streamText({ model, prompt: 'Name a colour.', maxOutputTokens, onError });
    const parts = [];
    for await (const part of textStream) parts.push(part);
    if (errors.length) throw new Error(errors.join());
    if (!['stop', 'length'].includes(await finishReason)) throw new Error(await finishReason);
    return parts;
  },
  tools: async () => {
    const { steps, text } = await generateText({
      model,
      prompt: 'What is the weather in Paris?',
      tools: { weather },
      maxOutputTokens: 100,
      stopWhen: stepCountIs(2),
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? { type: 'tool', toolName: 'weather' } : 'none' }),
    });
    const results = steps.flatMap((step) => step.toolResults.map((result) => result.output));
    return { results, text };
  },
  turns: async () => {
    const messages = [{ role: 'user', content: 'Hi, my name is Ann.' }];
    const first = await generateText({ model, messages, maxOutputTokens, providerOptions });
    messages.push(...first.response.messages, { role: 'user', content: 'What is my name?' });
    const second = await generateText({ model, messages, maxOutputTokens, providerOptions });
    return [first.text, second.text];
  },
  structured: async () => {
    const { output } = await generateText({ model, prompt: 'Give me a fruit.', output: fruit, maxOutputTokens });
    return output;
  },
});

const embeddings = (model) => async () => {
  const { embeddings } = await embedMany({ model, values: ['A cat.', 'A kitten.', 'The ledger is durable.'] });
  return embeddings.map((vector) => vector.length);
};
const heard = (model) => async () => {
  const { text } = await transcribe({ model, audio });
  return text;
};
const said = (model) => async () => {
  const spoken = await generateSpeech({ model, text: 'It is sunny in Paris today.' });
  return spoken.audio.uint8Array.length;
};

const prefixed = (prefix, steps) => Object.fromEntries(Object.entries(steps).map(([name, step]) => [`${prefix}_${name}`, step]));
const steps = {
  ...prefixed('responses', language(openai('gpt-4o-mini'))),
  ...prefixed('unstored', language(openai('gpt-4o-mini'), { openai: { store: false } })),
  ...prefixed('chat', language(openai.chat('gpt-4o-mini'))),
  ...prefixed('compatible', language(compatible('gpt-4o-mini'))),
  openai_embeddings: embeddings(openai.embedding('text-embedding-3-small')),
  compatible_embeddings: embeddings(compatible.embeddingModel('text-embedding-3-small')),
  openai_transcription: heard(openai.transcription('whisper-1')),
  openai_newer_transcription: heard(openai.transcription('gpt-4o-mini-transcribe')),
  deepgram_transcription: heard(deepgram.transcription('nova-3')),
  openai_speech: said(openai.speech('tts-1')),
  deepgram_speech: said(deepgram.speech('aura-2-helena-en')),
  elevenlabs_speech: said(elevenlabs.speech('eleven_multilingual_v2')),
};

const told = {};
for (const [name, step] of Object.entries(steps)) {
  try {
    told[name] = await step();
  } catch (error) {
    told[name] = { error: `${error.name}: ${error.message}`, body: error.responseBody };
  }
}
process.stdout.write(`${JSON.stringify(told)}\n`);
