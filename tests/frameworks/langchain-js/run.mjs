// What a user of LangChain for JavaScript does first, with its defaults. Arguments: URL, key. The last line of standard
// output is a JSON object: what came of each step, or {"error"}.
import { HumanMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai';
import { z } from 'zod';

const [url, apiKey] = process.argv.slice(2);
const here = { apiKey, configuration: { baseURL: `${url}/v1` } };
const model = (settings) => new ChatOpenAI({ model: 'gpt-4o-mini', maxTokens: 100, ...here, ...settings });
const weather = tool(async ({ city }) => `It is sunny in ${city}.`, {
  name: 'weather',
  description: 'Tells the weather in a city.',
  schema: z.object({ city: z.enum(['Paris', 'Rome']) }),
});
const streamedBy = (settings) => async () => {
  const parts = [];
  for await (const chunk of await model(settings).stream('Name a colour.')) if (chunk.text) parts.push(chunk.text);
  return parts;
};

const steps = {
  chat: async () => {
    const answer = await model().invoke('Name a colour.');
    return { text: answer.text, tokens: answer.usage_metadata.output_tokens };
  },
  streamed: streamedBy(),
  tools: async () => {
    const asked = [new HumanMessage('What is the weather in Paris?')];
    const answer = await model().bindTools([weather], { tool_choice: 'weather' }).invoke(asked);
    const results = await Promise.all(answer.tool_calls.map((call) => weather.invoke(call)));
    const after = await model().bindTools([weather], { tool_choice: 'none' }).invoke([...asked, answer, ...results]);
    return { results: results.map((result) => result.content), text: after.text };
  },
  structured: () =>
    model()
      .withStructuredOutput(z.object({ name: z.enum(['apple', 'banana']), ripe: z.boolean() }))
      .invoke('Give me a fruit.'),
  responses_turns: async () => {
    const asked = [new HumanMessage('Hi, my name is Ann.')];
    const first = await model({ useResponsesApi: true }).invoke(asked);
    const second = await model({ useResponsesApi: true }).invoke([...asked, first, new HumanMessage('What is my name?')]);
    return [first.text, second.text];
  },
  responses_streamed: streamedBy({ useResponsesApi: true }),
  embeddings: async () => {
    const vectors = await new OpenAIEmbeddings({ model: 'text-embedding-3-small', ...here }).embedDocuments(['A cat.', 'A dog.']);
    return vectors.map((vector) => vector.length);
  },
};

const told = {};
for (const [name, step] of Object.entries(steps)) {
  try {
    told[name] = await step();
  } catch (error) {
    told[name] = { error: `${error.name}: ${error.message}` };
  }
}
process.stdout.write(`${JSON.stringify(told)}\n`);
