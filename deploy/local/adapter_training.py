"""Train a LoRA adapter that calls tools, on a CPU. Run by the engine's interpreter, with PEFT on PYTHONPATH.

The loss is on the assistant's tokens only, and logits are computed only there: 262,144 of them for every token would be
most of the work. So most steps compare with the words of the dialogues and a few thousand others drawn anew, which
stand for all the rest (sampled softmax); the last ones with all. An adapter that was taught by the common words only
ended its answers in rare ones.
Dialogues of one step share their declarations, which go through the model once: the attention mask keeps the dialogues
apart. That is three times less work than a padded batch.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# These are in the engine's environment only, so the checkers of ours can't see them.
import torch  # type: ignore[import-not-found]
from peft import LoraConfig, PeftModel, get_peft_model  # type: ignore[import-not-found]
from safetensors.torch import load_file, save_file  # type: ignore[import-not-found]
from transformers import AutoModelForCausalLM, AutoTokenizer  # type: ignore[import-not-found]

from deploy.local.token_packs import ConversationTokenizer, Pack, pack
from deploy.local.training_plan import Pace

BASE_MODEL = "google/gemma-3-270m"
WEIGHTS = "adapter_model.safetensors"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
REPORT_EVERY = 10
SAVE_EVERY = 40
"""Steps after which the adapter is written on the way, in case that something stops the training."""
CLIP = 1.0
DRAWN_WORDS = 6144
"""Words besides those of the dialogues that a step compares with."""
WHOLE_VOCABULARY_FROM = 0.94
"""The part of the training after which every step compares with the whole vocabulary."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    template = options.template.read_text(encoding="utf-8")
    tokenizer = ConversationTokenizer(AutoTokenizer.from_pretrained(options.model), template)
    groups = [json.loads(line) for line in options.dialogues.read_text(encoding="utf-8").splitlines()]
    packs = [pack([tokenizer.sequence(messages) for messages in group]) for group in groups]
    base = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    if options.start:
        model = PeftModel.from_pretrained(base, options.start, is_trainable=True)
    else:
        model = get_peft_model(base, lora_config(options.rank))
    model.train()
    started = time.monotonic()
    train(model, packs, options)
    save(model, options.output)
    if options.start and options.average is not None:
        average(options.output, options.start, options.average)
    size = sum(file.stat().st_size for file in options.output.glob(WEIGHTS))
    minutes = (time.monotonic() - started) / 60
    print(f"saved {size / 1e6:.2f} MB to {options.output} after {minutes:.1f} min", flush=True)


def lora_config(rank: int) -> LoraConfig:
    """All projections of attention and MLP."""
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), task_type="CAUSAL_LM")


def train(model: torch.nn.Module, packs: Sequence[Pack], options: argparse.Namespace) -> None:
    """One step per pack until the packs or the minutes are used up; says every few steps how far it is."""
    weights = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=options.rate, weight_decay=0.0, betas=(0.9, 0.98))
    words = Words(model.base_model.model.lm_head.weight.detach(), packs)
    pace = Pace(len(packs), options.minutes and options.minutes * 60)
    started = time.monotonic()
    recent: list[float] = []
    for step, packed in enumerate(packs, start=1):
        spent = time.monotonic() - started
        done = pace.done(step - 1, spent)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = options.rate * pace.rate(step, done)
        loss = words.loss(*_learned(model, packed), whole=done >= WHOLE_VOCABULARY_FROM)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent.append(loss.item())
        if step % REPORT_EVERY == 0:
            spent = time.monotonic() - started
            left = math.ceil(pace.left_s(step, spent) / 60)
            mean = sum(recent) / len(recent)
            print(f"step {step}  loss {mean:.4f}  {spent / step:.1f} s a step  {left} min left", flush=True)
            recent.clear()
        if step % SAVE_EVERY == 0:
            save(model, options.output)


class Words:
    """What the loss compares with: the whole vocabulary, or the dialogues' words and a draw from the others."""

    def __init__(self, embeddings: torch.Tensor, packs: Sequence[Pack]) -> None:
        known = torch.tensor(sorted({token for packed in packs for token in packed.tokens}))
        is_known = torch.zeros(len(embeddings), dtype=torch.bool)
        is_known[known] = True
        self._embeddings = embeddings
        self._known = embeddings[known].contiguous()
        self._others = torch.nonzero(~is_known)[:, 0]
        self._place = torch.full((len(embeddings),), -1)
        self._place[known] = torch.arange(len(known))

    def loss(self, hidden: torch.Tensor, wanted: torch.Tensor, *, whole: bool) -> torch.Tensor:
        """The mean cross-entropy; each drawn word counts for as many others as it stands for."""
        if whole:
            return torch.nn.functional.cross_entropy(hidden @ self._embeddings.T, wanted)
        drawn = self._others[torch.randint(len(self._others), (DRAWN_WORDS,))]
        stands_for = math.log(len(self._others) / DRAWN_WORDS)
        logits = torch.cat([hidden @ self._known.T, hidden @ self._embeddings[drawn].T + stands_for], dim=1)
        return torch.nn.functional.cross_entropy(logits, self._place[wanted])


def _learned(model: torch.nn.Module, packed: Pack) -> tuple[torch.Tensor, torch.Tensor]:
    """The learned tokens, and the hidden states that each is told from: those of the token before it."""
    causal = model.base_model.model
    hidden = causal.model(
        input_ids=torch.tensor([packed.tokens]),
        position_ids=torch.tensor([packed.positions]),
        attention_mask=attention_masks(packed, causal.config.sliding_window),
        use_cache=False,
    ).last_hidden_state[0]
    at = torch.tensor([index for index, learned in enumerate(packed.learned) if learned])
    return hidden[at - 1], torch.tensor(packed.tokens)[at]


def attention_masks(packed: Pack, window: int) -> dict[str, torch.Tensor]:
    """Who sees whom, for Gemma 3's two kinds of layers: what came before in its branch or in the common beginning."""
    branch = torch.tensor(packed.branches)
    position = torch.tensor(packed.positions)
    distance = position[:, None] - position[None, :]
    sees = (branch[None, :] == 0) | (branch[None, :] == branch[:, None])
    full = sees & (distance >= 0)
    return {"full_attention": full[None, None], "sliding_attention": (full & (distance < window))[None, None]}


def save(model: torch.nn.Module, output: Path) -> None:
    """PEFT's format in bfloat16, half of what PEFT writes itself, with the base model's public name."""
    model.peft_config["default"].base_model_name_or_path = BASE_MODEL
    model.save_pretrained(output)
    (output / "README.md").unlink(missing_ok=True)  # PEFT's own, a form to fill in
    file = output / WEIGHTS
    save_file({name: each.to(torch.bfloat16) for name, each in load_file(file).items()}, file, {"format": "pt"})


def average(output: Path, start: Path, part: float) -> None:
    """Mix what was trained with what it began with: two that err in different words err less together."""
    before, file = load_file(start / WEIGHTS), output / WEIGHTS
    mixed = {name: (1 - part) * before[name].float() + part * each.float() for name, each in load_file(file).items()}
    save_file({name: each.to(torch.bfloat16) for name, each in mixed.items()}, file, {"format": "pt"})


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--template", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dialogues", type=Path, required=True, help="what tool_messages writes")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--minutes", type=float, help="end after this time, even if dialogues are left")
    parser.add_argument("--start", type=Path, help="an adapter to go on with")
    parser.add_argument("--average", type=float, help="the share of the new weights, the rest is the old ones'")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
