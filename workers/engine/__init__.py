"""The inference engine. Imports torch, transformers, triton, numpy and the standard library only."""
