"""JAX's training step of LFM2-350M's shape on one NVIDIA GPU, as fast as we know how to write it: cuDNN's flash attention,
logits in bfloat16 before the float32 log-sum-exp, one jitted step that gives up its state, steps launched ahead.

The work of a step is lfm's own: forward, backward, clipping to norm 1, AdamW over float32 parameters, matrices decayed.
  XLA_FLAGS=--xla_gpu_enable_triton_gemm=false python train_jax.py --fused
Prints one line of JSON on stdout.
"""

import argparse
import functools
import json
import time

import jax
import jax.numpy as jnp

HIDDEN, VOCABULARY, LAYERS, HEAD, INNER = 1024, 65536, 16, 64, 4608
HEADS, GROUPS = 16, 8
ATTENDING = {2, 5, 8, 10, 12, 14}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--length", type=int, default=2048)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--warmup", type=int, default=3)
parser.add_argument("--recompute", action="store_true", help="jax.checkpoint around each layer")
parser.add_argument("--fused", action="store_true", help="q, k, v and both halves of the gate as one product each")
options = parser.parse_args()
B, T = options.batch, options.length


def make_parameters(key):
    keys = iter(jax.random.split(key, 400))
    normal = lambda *shape: jax.random.normal(next(keys), shape) * 0.02
    layers = []
    for depth in range(LAYERS):
        layer = {"norm1": jnp.ones(HIDDEN), "norm2": jnp.ones(HIDDEN), "w13": normal(HIDDEN, 2 * INNER)}
        layer["w2"] = normal(INNER, HIDDEN)
        if not options.fused:
            layer["w1"], layer["w3"] = jnp.split(layer.pop("w13"), 2, 1)
        if depth in ATTENDING:
            qkv = normal(HIDDEN, (HEADS + 2 * GROUPS) * HEAD)
            names = {"qkv": qkv} if options.fused else dict(zip("qkv", jnp.split(qkv, [1024, 1536], 1)))
            layer.update(names, out=normal(HIDDEN, HIDDEN), q_norm=jnp.ones(HEAD), k_norm=jnp.ones(HEAD))
        else:
            layer.update({"in": normal(HIDDEN, 3 * HIDDEN), "taps": normal(3, HIDDEN), "out": normal(HIDDEN, HIDDEN)})
        layers.append(layer)
    return {"table": normal(VOCABULARY, HIDDEN), "norm": jnp.ones(HIDDEN), "layers": layers}


def rms(x, gain):
    wide = x.astype(jnp.float32)
    return (wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + 1e-5)).astype(x.dtype) * gain


def turn(x, cos, sin):
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


angles = jnp.arange(T)[:, None] * 1e6 ** (-jnp.arange(0, HEAD, 2) / HEAD)
COS, SIN = (f(angles)[None, :, None].astype(jnp.bfloat16) for f in (jnp.cos, jnp.sin))


def mix(depth, layer, x):
    if depth not in ATTENDING:
        gate, out_gate, value = jnp.split(x @ layer["in"], 3, -1)
        padded = jnp.pad(gate * value, ((0, 0), (2, 0), (0, 0)))
        return (out_gate * sum(padded[:, j : j + T] * layer["taps"][j] for j in range(3))) @ layer["out"]
    if options.fused:
        q, k, v = jnp.split(x @ layer["qkv"], [1024, 1536], -1)
    else:
        q, k, v = x @ layer["q"], x @ layer["k"], x @ layer["v"]
    q = turn(rms(q.reshape(B, T, HEADS, HEAD), layer["q_norm"]), COS, SIN)
    k = turn(rms(k.reshape(B, T, GROUPS, HEAD), layer["k_norm"]), COS, SIN)
    v = v.reshape(B, T, GROUPS, HEAD)
    return jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation="cudnn").reshape(B, T, HIDDEN) @ layer["out"]


def apply_layer(depth, layer, x):
    x = x + mix(depth, layer, rms(x, layer["norm1"]))
    h = rms(x, layer["norm2"])
    gate, up = jnp.split(h @ layer["w13"], 2, -1) if options.fused else (h @ layer["w1"], h @ layer["w3"])
    return x + (jax.nn.silu(gate) * up) @ layer["w2"]


def measure_loss(parameters, tokens):
    p = jax.tree.map(lambda array: array.astype(jnp.bfloat16), parameters)
    x = p["table"][tokens[:, :-1]]
    for depth, layer in enumerate(p["layers"]):
        run = functools.partial(apply_layer, depth)
        x = (jax.checkpoint(run) if options.recompute else run)(layer, x)
    logits = (rms(x, p["norm"]) @ p["table"].T).astype(jnp.float32)
    labels = tokens[:, 1:]
    return jnp.mean(jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, labels[..., None], -1)[..., 0])


def run_step(parameters, first, second, step, tokens):
    loss, gradients = jax.value_and_grad(measure_loss)(parameters, tokens)
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(gradients)))
    gradients = jax.tree.map(lambda g: g * jnp.minimum(1.0 / (norm + 1e-6), 1.0), gradients)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.95 * v + 0.05 * g * g, second, gradients)

    def update(p, m, v):
        kept = p * (1 - 3e-4 * 0.1) if p.ndim >= 2 else p
        return kept - 3e-4 * (m / (1 - 0.9**step)) / (jnp.sqrt(v / (1 - 0.95**step)) + 1e-8)

    return jax.tree.map(update, parameters, first, second), first, second, loss


step = jax.jit(run_step, donate_argnums=(0, 1, 2))
parameters = make_parameters(jax.random.PRNGKey(0))
state = [parameters, jax.tree.map(jnp.zeros_like, parameters), jax.tree.map(jnp.zeros_like, parameters)]
count = sum(array.size for array in jax.tree.leaves(parameters))
tokens = jax.random.randint(jax.random.PRNGKey(1), (B, T + 1), 0, VOCABULARY)


def advance(number):
    *state[:], loss = step(*state, float(number), tokens)
    return loss


begin = time.perf_counter()
losses = [float(advance(1))]
compile_seconds = time.perf_counter() - begin
losses += [float(advance(number)) for number in range(2, options.warmup + 1)]
begin = time.perf_counter()
timed = [advance(options.warmup + number) for number in range(1, options.steps + 1)]
timed[-1].block_until_ready()
seconds = (time.perf_counter() - begin) / options.steps
losses += [float(loss) for loss in timed]
flops = 6 * count + 6 * len(ATTENDING) * T * HIDDEN
device = jax.devices()[0]
print(
    json.dumps(
        {
            "name": "jax cudnn" + (" fused" if options.fused else "") + (" recompute" if options.recompute else ""),
            "params": count,
            "batch": B,
            "length": T,
            "devices": 1,
            "msPerStep": round(1e3 * seconds, 3),
            "tokensPerSecond": round(B * T / seconds, 1),
            "mfu": flops * B * T / seconds / 989e12,
            "firstStepSeconds": round(compile_seconds, 2),
            "peakBytes": (device.memory_stats() or {}).get("peak_bytes_in_use"),
            "losses": losses,
            "version": jax.__version__,
            "device": device.device_kind,
        }
    )
)
