"""Run by the engine's own Python: the log-probabilities of tokens behind prompts, computed without vLLM.

Standard input: {"model": folder, "prompts": [[token ids], …], "tokens": [id, …]}; standard output: a list per prompt.
"""

import json
import sys

import torch  # type: ignore[import-not-found]  # the engine's environment has it
from transformers import AutoModelForCausalLM  # type: ignore[import-not-found]  # as torch


def main() -> None:
    task = json.load(sys.stdin)
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.bfloat16).eval()
    found = []
    with torch.inference_mode():
        for prompt in task["prompts"]:
            logits = model(torch.tensor([prompt]), logits_to_keep=1).logits[0, -1].float()
            found.append(torch.log_softmax(logits, -1)[task["tokens"]].tolist())
    json.dump(found, sys.stdout)


main()
