// openai-node, as it comes, against the gateway: chat, streams, helpers, embeddings, models.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { ALIAS, CHAT, EMBEDDING, FORBIDDEN, RENAMED, client, collect, hello, reset, script, textOf } from "./stage.js";

const Weather = z.object({ city: z.string(), degrees: z.number(), sunny: z.boolean() });

beforeEach(reset);

test("a chat completion has text, usage, the model's name and a request id", async () => {
  await script({ text: "Hello, world." });
  const answer = await client.chat.completions.create({ model: ALIAS, messages: hello });
  assert.equal(answer.choices[0].message.content, "Hello, world.");
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.model, CHAT);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.ok(answer._request_id);
});

test("the client's request id comes back", async () => {
  const { data, response, request_id } = await client.chat.completions
    .create({ model: CHAT, messages: hello }, { headers: { "x-request-id": "order-66" } })
    .withResponse();
  assert.equal(request_id, "order-66");
  assert.equal(response.headers.get("x-request-id"), "order-66");
  assert.equal(data.choices[0].message.content, "Hello");
});

test("n, stop and logprobs", async () => {
  await script({ chunks: ["one", " two", " STOP", " three"] });
  const answer = await client.chat.completions.create({
    model: CHAT,
    messages: hello,
    n: 2,
    stop: "STOP",
    logprobs: true,
    top_logprobs: 1,
  });
  assert.deepEqual(
    answer.choices.map((choice) => choice.message.content),
    ["one two ", "one two "],
  );
  assert.equal(answer.choices[0].logprobs.content[0].token, "one");
});

test("a stream is text and one finish reason", async () => {
  await script({ text: "Hello, wide world." });
  const chunks = await collect(await client.chat.completions.create({ model: CHAT, messages: hello, stream: true }));
  assert.equal(textOf(chunks), "Hello, wide world.");
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  assert.ok(chunks.every((chunk) => chunk.choices.length === 1));
});

test("usage is the last chunk when asked for, and null on the others", async () => {
  const chunks = await collect(
    await client.chat.completions.create({
      model: CHAT,
      messages: hello,
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.total_tokens > 0);
  assert.ok(chunks.every((chunk) => chunk.usage === null));
});

test("chunks name the configured model, not the engine's", async () => {
  const chunks = await collect(await client.chat.completions.create({ model: RENAMED, messages: hello, stream: true }));
  assert.deepEqual(new Set(chunks.map((chunk) => chunk.model)), new Set([RENAMED]));
});

test("[DONE] inside the text ends nothing", async () => {
  await script({ chunks: ["[DONE]", "data: [DONE]\n\n", "end"] });
  const chunks = await collect(await client.chat.completions.create({ model: CHAT, messages: hello, stream: true }));
  assert.equal(textOf(chunks), "[DONE]data: [DONE]\n\nend");
});

test("the stream helper gathers a final completion", async () => {
  await script({ text: "Hello, world." });
  const deltas = [];
  const stream = client.chat.completions
    .stream({ model: CHAT, messages: hello, stream_options: { include_usage: true } })
    .on("content", (delta) => deltas.push(delta));
  const final = await stream.finalChatCompletion();
  assert.equal(deltas.join(""), "Hello, world.");
  assert.equal(final.choices[0].message.content, "Hello, world.");
  assert.equal(final.choices[0].finish_reason, "stop");
  assert.ok((await stream.totalUsage()).completion_tokens > 0);
});

test("the stream helper parses what a schema asked for", async () => {
  const stream = client.chat.completions.stream({
    model: CHAT,
    messages: hello,
    response_format: zodResponseFormat(Weather, "weather"),
  });
  const final = await stream.finalChatCompletion();
  Weather.parse(final.choices[0].message.parsed);
});

test("parse with a zod schema", async () => {
  const answer = await client.chat.completions.parse({
    model: CHAT,
    messages: hello,
    response_format: zodResponseFormat(Weather, "weather"),
  });
  Weather.parse(answer.choices[0].message.parsed);
});

test("text completions, whole and streamed", async () => {
  const answer = await client.completions.create({ model: ALIAS, prompt: "Once" });
  assert.equal(answer.choices[0].text, "Once");
  assert.equal(answer.model, CHAT);
  const chunks = await collect(await client.completions.create({ model: CHAT, prompt: "Once", stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), "Once");
});

test("embeddings: the SDK's base64 is the same vector as float", async () => {
  const floats = await client.embeddings.create({ model: EMBEDDING, input: "Hello", encoding_format: "float" });
  const packed = await client.embeddings.create({ model: EMBEDDING, input: "Hello" });
  assert.equal(packed.data[0].embedding.length, 768);
  packed.data[0].embedding.forEach((value, i) => assert.ok(Math.abs(value - floats.data[0].embedding[i]) < 1e-6));
  const short = await client.embeddings.create({ model: EMBEDDING, input: ["one", "two"], dimensions: 128 });
  assert.deepEqual(
    short.data.map((item) => item.embedding.length),
    [128, 128],
  );
});

test("models are listed by their names and found by alias", async () => {
  const ids = (await collect(client.models.list())).map((model) => model.id);
  assert.ok(ids.includes(CHAT) && ids.includes(EMBEDDING) && !ids.includes(FORBIDDEN));
  assert.equal((await client.models.retrieve(ALIAS)).id, ALIAS);
});
