"""The single-stream Transformer that denoises video and sound together."""
