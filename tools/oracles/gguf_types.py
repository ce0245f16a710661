"""Fixtures of GGUF's tensor types, by gguf-py: test/fixtures/gguf/types.gguf holds random blocks of each type that is
read, expected.safetensors their float32 values; written.gguf what gguf-py writes and quantises from given float32 values."""
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as T, GGUFWriter, dequantize, quantize
from gguf.constants import GGML_QUANT_SIZES
from safetensors.numpy import save_file

OUT = Path(__file__).parents[2] / "test/fixtures/gguf"
rng = np.random.default_rng(1)

# Where each type keeps its float16 scales: those must not be infinite, or all is NaN.
SCALES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}


def blocks(kind, count):
    size = GGML_QUANT_SIZES[kind][1]
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = rng.integers(0, 65536, count, dtype=np.uint16)
        scale = np.where((scale & 0x7C00) == 0x7C00, scale & 0x83FF, scale).astype("<u2")  # of all sizes, subnormal too
        data[:, at : at + 2] = scale.view(np.uint8).reshape(count, 2)
    return data


def floats(count):
    x = rng.standard_normal(count).astype(np.float32) * 10.0 ** rng.integers(-3, 4, count).astype(np.float32)
    x = x.reshape(-1, 32)
    x[0] = 0
    x[1] = np.linspace(-8, 7, 32)  # halves
    x[2] = np.arange(32) - 16.5
    x[3, :2] = [-3, 3]  # two of one size: the first decides
    x[4] *= 1e-9
    return x.reshape(-1)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    writer, expected = GGUFWriter(str(OUT / "types.gguf"), "none"), {}
    writer.add_array("test.strings", ["a", "", "ß"])
    writer.add_array("test.bools", [True, False])
    writer.add_array("test.floats", [0.5, -2.0])
    writer.add_array("test.ints", [1, -2, 3])
    writer.add_uint64("test.large", 2**60)
    writer.add_int16("test.negative", -7)
    writer.add_float64("test.pi", np.pi)
    for kind in SCALES:
        per_row = 2 if GGML_QUANT_SIZES[kind][0] == 256 else 6
        data = blocks(kind, 2 * per_row).reshape(2, -1)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = np.ascontiguousarray(dequantize(data, kind))
    bits = rng.integers(0, 65536, (3, 50), dtype=np.uint16)
    writer.add_tensor("F16", bits.view(np.float16))
    expected["F16"] = bits.view(np.float16).astype(np.float32)
    writer.add_tensor("BF16", bits.view(np.uint8), raw_dtype=T.BF16)
    expected["BF16"] = np.ascontiguousarray(dequantize(bits.view(np.uint8), T.BF16))
    expected["F32"] = rng.standard_normal((2, 3, 5)).astype(np.float32)
    writer.add_tensor("F32", expected["F32"])
    writer.add_tensor("IQ4_NL", rng.integers(0, 256, (1, 18), dtype=np.uint8), raw_dtype=T.IQ4_NL)
    finish(writer)
    save_file(expected, str(OUT / "expected.safetensors"))

    writer = GGUFWriter(str(OUT / "written.gguf"), "none")
    writer.add_string("general.name", "grüße")
    writer.add_uint32("none.block_count", 3)
    writer.add_float32("none.epsilon", 1e-5)
    writer.add_bool("none.yes", True)
    writer.add_array("none.words", ["a", "bc"])
    writer.add_array("none.kinds", [1, 2, 3])
    x = floats(32 * 24).reshape(4, -1)
    writer.add_tensor("F32", x)
    writer.add_tensor("F16", x.astype(np.float16))
    for kind in [T.BF16, T.Q8_0, T.Q4_0]:
        writer.add_tensor(kind.name, quantize(x, kind), raw_dtype=kind)
    writer.add_tensor("short", x[0, :5].copy())
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
