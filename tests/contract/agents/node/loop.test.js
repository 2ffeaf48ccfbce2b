// The Vercel AI SDK's own loops, in every dialect. test_ai_sdk.py has started the gateway and says what models answer.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { GATEWAY_URL, GATEWAY_KEY, SPEAKERS, TASK } = process.env;
const task = JSON.parse(TASK);
const provider = createOpenAICompatible({
  name: "gateway",
  baseURL: `${GATEWAY_URL}/v1`,
  apiKey: GATEWAY_KEY,
  includeUsage: true,
});

const ran = [];
const tools = {
  get_weather: tool({
    description: "The weather of the next days.",
    inputSchema: z.object({ city: z.string(), days: z.number().int() }),
    execute: async (input) => run("get_weather", input),
  }),
  get_time: tool({
    description: "The time of day.",
    inputSchema: z.object({ zone: z.string() }),
    execute: async (input) => run("get_time", input),
  }),
};

function run(name, input) {
  ran.push([name, input]);
  return task.results[name];
}

async function whole(options) {
  const { text, steps, finishReason, totalUsage } = await generateText(options);
  return { text, steps, finishReason, totalUsage };
}

async function streamed(options) {
  const result = streamText({ ...options, onError: ({ error }) => { throw error; } });
  let text = "";
  for await (const part of result.textStream) text += part;
  const steps = await result.steps;
  assert.equal(text, steps.map((step) => step.text).join(""));
  return { text: await result.text, steps, finishReason: await result.finishReason, totalUsage: await result.totalUsage };
}

for (const speaker of JSON.parse(SPEAKERS)) {
  const options = {
    model: provider(speaker.model),
    system: "Be brief.",
    prompt: task.question,
    tools,
    maxRetries: 0,
    abortSignal: AbortSignal.timeout(60_000),
  };

  async function control(method, path, body) {
    const reply = await fetch(`${speaker.worker}/sim/${path}`, { method, body: body && JSON.stringify(body) });
    assert.ok(reply.ok, `${method} ${path}`);
    return reply.json();
  }

  async function script(...turns) {
    for (const turn of turns) await control("POST", "script", { whole_turn: true, ...turn });
  }

  describe(speaker.name, () => {
    beforeEach(async () => {
      ran.length = 0;
      await control("DELETE", "script");
      await control("DELETE", "requests");
    });

    for (const ask of [whole, streamed]) {
      test(`a call is required, ${ask.name}`, async () => {
        await script({ text: speaker.weather });
        const { steps } = await ask({ ...options, toolChoice: "required" });
        assert.deepEqual(ran, [task.weather]);
        assert.equal(steps[0].finishReason, "tool-calls");
      });

      test(`one call at a time, ${ask.name}`, async () => {
        await script({ text: speaker.endless, delay_s: 0.005 });
        await ask({ ...options, providerOptions: { gateway: { parallel_tool_calls: false } } });
        assert.deepEqual(ran, [task.weather]);
        const asked = await finished(control);
        assert.deepEqual(asked.map((seen) => seen.state), ["aborted"]);
      });

      test(`a loop ends in an answer, ${ask.name}`, async () => {
        await script({ text: speaker.weather }, { text: speaker.both }, { text: task.answer });
        const { text, steps, finishReason, totalUsage } = await ask({ ...options, stopWhen: stepCountIs(5) });
        assert.equal(text, task.answer);
        assert.equal(finishReason, "stop");
        assert.deepEqual(ran, [task.weather, task.weather, task.time]);
        assert.deepEqual(steps.map((step) => step.finishReason), ["tool-calls", "tool-calls", "stop"]);
        assert.ok(totalUsage.inputTokens > 0 && totalUsage.outputTokens > 0);
      });
    }
  });
}

// What the worker was asked for, as soon as nothing runs any more.
async function finished(control, deadlineMs = 2000) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const { running, requests } = await control("GET", "requests");
    if (running === 0) return requests.filter((seen) => seen.path.startsWith("/v1/") && seen.method === "POST");
    if (Date.now() > end) throw new Error("the worker still runs");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
