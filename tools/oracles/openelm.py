"""OpenELM (arXiv 2404.14619) in torch, from the paper and the names in its published checkpoints: pre-norm attention with
normalised queries and keys in grouped heads, whose number grows with depth, and SwiGLU whose width does."""

import json
import pathlib
import types

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional


class Norm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def rotated(x: torch.Tensor, base: float) -> torch.Tensor:
    """x [B, H, T, D]: each pair (i, i + D/2) turned by position * base^(-2i/D)."""
    half = x.shape[-1] // 2
    frequencies = base ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * frequencies
    cos, sin = angles.cos().float(), angles.sin().float()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Attention(nn.Module):
    def __init__(self, width: int, queries: int, keys: int, head: int, base: float):
        super().__init__()
        self.counts, self.head, self.base = (queries, keys), head, base
        self.qkv_proj = linear(width, (queries + 2 * keys) * head)
        self.q_norm, self.k_norm = Norm(head), Norm(head)
        self.out_proj = linear(queries * head, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        queries, keys = self.counts
        heads = self.qkv_proj(x).view(batch, length, queries + 2 * keys, self.head).transpose(1, 2)
        q, k, v = heads.split([queries, keys, keys], dim=1)
        q, k = rotated(self.q_norm(q), self.base), rotated(self.k_norm(k), self.base)
        k, v = (part.repeat_interleave(queries // keys, dim=1) for part in (k, v))
        scores = q @ k.transpose(2, 3) / self.head**0.5
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
        y = scores.softmax(-1) @ v
        return self.out_proj(y.transpose(1, 2).reshape(batch, length, queries * self.head))


class FeedForward(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.proj_1, self.proj_2 = linear(width, 2 * inner), linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.proj_1(x).chunk(2, dim=-1)
        return self.proj_2(functional.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, attention: Attention, ffn: FeedForward, width: int):
        super().__init__()
        self.attn, self.ffn, self.attn_norm, self.ffn_norm = attention, ffn, Norm(width), Norm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.attn_norm(x))
        return x + self.ffn(self.ffn_norm(x))


class OpenElm(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        width, head, base = config["model_dim"], config["head_dim"], config["rope_freq_constant"]
        inner = [int(width * share) for share in config["ffn_multipliers"]]
        assert all(size % config["ffn_dim_divisor"] == 0 for size in inner)
        self.transformer = nn.Module()
        self.transformer.token_embeddings = nn.Embedding(config["vocab_size"], width)
        self.transformer.layers = nn.ModuleList(
            Layer(Attention(width, q, k, head, base), FeedForward(width, size), width)
            for q, k, size in zip(config["num_query_heads"], config["num_kv_heads"], inner)
        )
        self.transformer.norm = Norm(width)

    def forward(self, input_ids: torch.Tensor) -> types.SimpleNamespace:
        x = self.transformer.token_embeddings(input_ids)
        for layer in self.transformer.layers:
            x = layer(x)
        return types.SimpleNamespace(logits=self.transformer.norm(x) @ self.transformer.token_embeddings.weight.T)

    def save_pretrained(self, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True)
        save_file(self.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(self.config))
