// openai-node, as it comes, against the gateway: every error class, broken streams, clients that leave.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import OpenAI from "openai";

import {
  CHAT,
  FORBIDDEN,
  UNREACHABLE,
  client,
  collect,
  hastyClient,
  hello,
  reset,
  script,
  textOf,
  workerHas,
} from "./stage.js";

beforeEach(reset);

const cases = [
  ["an ill-typed field", OpenAI.BadRequestError, 400, null, { temperature: "hot" }, { param: "temperature" }],
  ["a model that isn't allowed", OpenAI.PermissionDeniedError, 403, "model_not_allowed", { model: FORBIDDEN }],
  ["an unknown model", OpenAI.NotFoundError, 404, "model_not_found", { model: "gpt-17" }],
  [
    "a body that is too large",
    OpenAI.APIError,
    413,
    "request_too_large",
    { messages: [{ role: "user", content: "x".repeat(1_100_000) }] },
  ],
  [
    "a prompt over the context",
    OpenAI.BadRequestError,
    400,
    "context_length_exceeded",
    { messages: [{ role: "user", content: "long ".repeat(5000) }] },
    { param: "messages" },
  ],
  ["a broken worker", OpenAI.InternalServerError, 502, "worker_error", {}, { fault: { kind: "status", status: 500 } }],
  [
    "a worker that is full",
    OpenAI.InternalServerError,
    503,
    "no_worker_available",
    {},
    { fault: { kind: "status", status: 503 } },
  ],
  ["no worker", OpenAI.InternalServerError, 503, "no_worker_available", { model: UNREACHABLE }],
];

for (const stream of [false, true]) {
  for (const [name, kind, status, code, body, { fault, param = undefined } = {}] of cases) {
    test(`${name} is ${status}, ${stream ? "streaming" : "whole"}`, async () => {
      if (fault) await script({ fault });
      const error = await client.chat.completions
        .create({ model: CHAT, messages: hello, stream, ...body })
        .then(assert.fail, (reason) => reason);
      assert.ok(error instanceof kind, `${error}`);
      assert.equal(error.status, status);
      assert.equal(error.code, code);
      if (param) assert.equal(error.param, param);
      assert.deepEqual(Object.keys(error.error).sort(), ["code", "message", "param", "type"]);
      assert.equal(error.requestID, error.headers.get("x-request-id"));
    });
  }
}

test("a wrong key is 401", async () => {
  const stranger = client.withOptions({ apiKey: "sk-wrong-key" });
  await assert.rejects(stranger.models.list(), (error) => {
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.equal(error.code, "invalid_api_key");
    return true;
  });
});

test("a worker that is silent until the deadline is 504", async () => {
  await script({ fault: { kind: "stall_before_headers" } });
  await assert.rejects(hastyClient.chat.completions.create({ model: CHAT, messages: hello }), (error) => {
    assert.ok(error instanceof OpenAI.InternalServerError);
    assert.equal(error.status, 504);
    assert.equal(error.code, "worker_timeout");
    return true;
  });
});

test("the SDK retries what a retry can mend", async () => {
  await script({ fault: { kind: "status", status: 500 } });
  const answer = await client.chat.completions.create({ model: CHAT, messages: hello }, { maxRetries: 1 });
  assert.equal(answer.choices[0].message.content, "Hello");
});

for (const kind of ["error_mid_stream", "cut_mid_stream", "end_without_done"]) {
  test(`a stream that breaks (${kind}) throws after its text`, async () => {
    await script({ chunks: ["a", "b", "c"], fault: { kind, at_chunk: 2 } });
    const chunks = [];
    const stream = await client.chat.completions.create({ model: CHAT, messages: hello, stream: true });
    await assert.rejects(
      async () => {
        for await (const chunk of stream) chunks.push(chunk);
      },
      (error) => {
        assert.ok(error instanceof OpenAI.APIError);
        assert.equal(error.code, "worker_error");
        return true;
      },
    );
    assert.equal(textOf(chunks), "ab");
  });

  test(`the stream helper throws when a stream breaks (${kind})`, async () => {
    await script({ chunks: ["a", "b", "c"], fault: { kind, at_chunk: 2 } });
    const stream = client.chat.completions.stream({ model: CHAT, messages: hello });
    await assert.rejects(stream.finalChatCompletion(), OpenAI.APIError);
  });
}

test("leaving a stream aborts the worker", async () => {
  await script({ chunks: ["x"], repeat: 100_000, delay_s: 0.01 });
  const stream = await client.chat.completions.create({ model: CHAT, messages: hello, stream: true });
  for await (const chunk of stream) if (textOf([chunk])) break;
  await workerHas((stats) => stats.aborted === 1 && stats.running === 0);
});

test("aborting before the first byte aborts the worker", async () => {
  await script({ first_delay_s: 60 });
  const controller = new AbortController();
  const request = client.chat.completions.create({ model: CHAT, messages: hello }, { signal: controller.signal });
  const outcome = assert.rejects(request, OpenAI.APIUserAbortError);
  await workerHas((stats) => stats.running === 1);
  controller.abort();
  await outcome;
  await workerHas((stats) => stats.aborted === 1 && stats.running === 0);
});

test("a stream that was read to its end leaves nothing behind", async () => {
  await collect(await client.chat.completions.create({ model: CHAT, messages: hello, stream: true }));
  await workerHas((stats) => stats.running === 0 && stats.aborted === 0);
});
