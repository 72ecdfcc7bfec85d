"""A language model by transformers alone, for the engines that bring none: token by token, on one core or two."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


class SmolLM:
    def __init__(self) -> None:
        torch.set_num_threads(1)  # more of them wait for each other, where the cores are shared
        folder = os.environ["MODEL"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def read(self, messages: Sequence[dict[str, str]]) -> list[int]:
        prompt = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        tokens: list[int] = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return tokens

    @torch.inference_mode()
    def write(self, tokens: Sequence[int], most: int) -> Iterator[str]:
        """The likeliest tokens, each as text, until the model ends or there are `most`."""
        fed, cache, written, shown = torch.tensor([list(tokens)]), None, list[int](), ""
        for _ in range(most):
            told: Any = self.model(fed, past_key_values=cache, use_cache=True)
            cache, token = told.past_key_values, int(told.logits[0, -1].argmax())
            if token == self.tokenizer.eos_token_id:
                return
            written.append(token)
            fed = torch.tensor([[token]])
            text = self.tokenizer.decode(written)
            yield text[len(shown) :]
            shown = text
