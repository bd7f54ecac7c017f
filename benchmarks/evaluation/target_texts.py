"""Texts of ids whose evidence is known: planted words, and sequences that a language model copies."""

import numpy as np

from benchmarks.evaluation.target_images import Known

#: Words of a text, classes, words of each class, and words that say nothing.
LENGTH, CLASSES, OWN, FILLERS = 24, 3, 4, 60
WORDS = CLASSES * OWN + FILLERS
#: Letters of a sequence that is copied, and of the alphabet; the number behind the letters separates.
COPIED, LETTERS = 8, 16
SEPARATOR = LETTERS
COPY_LENGTH = 2 * COPIED


def planted(count: int, seed: int) -> Known:
    """Texts with two words of a class, which is the answer, and one word of another."""
    generator = np.random.default_rng([seed, 7])
    ids = generator.integers(CLASSES * OWN, WORDS, (count, LENGTH))
    answers, evidence = generator.integers(0, CLASSES, count), np.zeros(ids.shape, bool)
    for text, answer, mask in zip(ids, answers, evidence, strict=True):
        *own, other = generator.choice(LENGTH, 3, replace=False)
        text[own] = OWN * answer + generator.integers(0, OWN, 2)
        text[other] = OWN * ((answer + generator.integers(1, CLASSES)) % CLASSES) + generator.integers(0, OWN)
        mask[own] = True
    return Known(ids.astype("int32"), answers, evidence, {}, {"class_id": answers})


def copied(count: int, seed: int) -> Known:
    """Letters, a separator, and the letters again but for the last; the answer is the next letter.

    One position of the second half is asked for; its evidence is the letter that it copies.
    """
    generator = np.random.default_rng([seed, 8])
    letters = generator.integers(0, LETTERS, (count, COPIED))
    ids = np.concatenate([letters, np.full((count, 1), SEPARATOR), letters[:, :-1]], 1)
    number = generator.integers(0, COPIED, count)
    evidence = np.arange(COPY_LENGTH) == number[:, None]
    token = letters[np.arange(count), number]
    return Known(ids.astype("int32"), letters, evidence, {}, {"position": COPIED + number, "token": token})
