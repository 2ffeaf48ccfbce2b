// Where the gateway and the worker are, and the worker's script: what test_openai_node.py has started.

import OpenAI from "openai";

const { GATEWAY_URL, HASTY_GATEWAY_URL, GATEWAY_KEY, WORKER_URL } = process.env;

export const CHAT = "google/gemma-3-270m-it";
export const ALIAS = "gpt-4o-mini";
export const RENAMED = "google/gemma-3-1b-it";
export const EMBEDDING = "google/embeddinggemma-300m";
export const UNREACHABLE = "google/gemma-3-4b-it";
export const FORBIDDEN = "google/gemma-3-27b-it";

export const hello = [{ role: "user", content: "Hello" }];

const options = { apiKey: GATEWAY_KEY, maxRetries: 0, timeout: 15_000 };
export const client = new OpenAI({ ...options, baseURL: `${GATEWAY_URL}/v1` });
export const hastyClient = new OpenAI({ ...options, baseURL: `${HASTY_GATEWAY_URL}/v1` });

// How the worker answers the next request.
export async function script(answer) {
  const reply = await fetch(`${WORKER_URL}/sim/script`, { method: "POST", body: JSON.stringify(answer) });
  if (!reply.ok) throw new Error(await reply.text());
}

// A worker without scripts, and without the requests of earlier tests.
export async function reset() {
  await fetch(`${WORKER_URL}/sim/script`, { method: "DELETE" });
  await fetch(`${WORKER_URL}/sim/requests`, { method: "DELETE" });
}

// Resolves when the worker's counts satisfy `condition`.
export async function workerHas(condition, deadlineMs = 1000) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const stats = await (await fetch(`${WORKER_URL}/sim/stats`)).json();
    if (condition(stats)) return;
    if (Date.now() > end) throw new Error(`worker: ${JSON.stringify(stats)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

// The text of a list of chunks.
export function textOf(chunks) {
  return chunks.flatMap((chunk) => chunk.choices).map((choice) => choice.delta.content ?? "").join("");
}

export async function collect(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}
