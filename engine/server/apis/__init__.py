"""The APIs of other projects that completion plugins speak: llama.cpp, Ollama and Mistral."""
