"""Trains the tokenizer: byte-level BPE in which every number up to 999 and every year is one token.

One token a number, with the blank before it apart, so that "2014" in a question and "2014)" in a passage are the same
token: matching keys is what the model lives on. Punctuation stands alone for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pipelines.training.starter import words
from pipelines.training.starter.common import COMMON
from pipelines.training.starter.slots import YEARS
from pipelines.training.starter.text import Mix, ask, contexts

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
PIECES = r"\n| ?\p{L}+|\p{N}{1,4}| ?[^\s\p{L}\p{N}]|\s"


def _corpus(seed: int, size: int) -> Iterator[str]:
    drawn = contexts(f"{seed}-tokenizer", Mix())
    for _ in range(size):
        context = next(drawn)
        yield context.head
        for question in context.questions:
            yield f"{ask(question.text)}{question.completion}\n"
    numbers = [*range(1000), *range(YEARS[0], YEARS[1] + 1)]
    yield from (f"{number} " * 400 for number in numbers)
    yield from (f" {word}" * 60 for word in COMMON)
    yield "“ ” ’ – — • é ° µ ½ §" * 400
    lists = [value for name, value in vars(words).items() if name.isupper() and isinstance(value, tuple)]
    yield from (f" {word}" * 20 for value in lists for word in value if value is not words.SYLLABLES)


def train(seed: int, size: int = 6000, vocabulary: int = 4608) -> PreTrainedTokenizerFast:
    """Train on `size` generated contexts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PIECES), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(seed, size), trainer)
    begin = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, begin)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def save(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    tokenizer.save_pretrained(str(folder))
