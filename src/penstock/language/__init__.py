"""In the language of whoever asks: phrases, prompts, questions that cross to documents in another language, translation."""
