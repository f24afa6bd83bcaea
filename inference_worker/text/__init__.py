"""Text in and out of token ids: templates, tokenizing, detokenizing, stop strings, the context budget."""
