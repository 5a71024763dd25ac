"""The trained tagger as an ONNX graph with 8-bit weights, put together in memory: 10 MB, no torch, a third of the time of 32-bit ones.

One window at a time: activations are quantised by the range of what is run together, so that in a batch a text's tags would depend on
its neighbours. A batch would gain nothing either (measured: docs/measurements.md).
"""

from __future__ import annotations

from typing import Any

LAYERS = 6
_HEADS = 12
_EPSILON = 1e-12
_CONTRIB = "com.microsoft"


def session(weights: dict[str, Any]) -> Any:
    """An inference session: `hidden` (1, tokens, size) after the embeddings, to `scores` (1, tokens, tags).

    `weights` are the encoder's, updates added, by their names below `encoder.layer.`, and `head.weight`, `head.bias`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Texts run side by side in threads of their own; two threads within one small product wait for each other.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(_build(weights), options, providers=["CPUExecutionProvider"])


def _build(weights: dict[str, Any]) -> bytes:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind: str, inputs: list[str], output: str, domain: str = _CONTRIB, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def dense(x: str, name: str) -> str:
        """x @ W.T + b with W in 8 bits, one scale for each column."""
        matrix = weights[f"{name}.weight"].T
        scale = np.maximum(np.abs(matrix).max(axis=0), 1e-8) / 127
        inputs = [
            x,
            constant(f"{name}.q", np.clip(np.rint(matrix / scale), -127, 127).astype(np.int8)),
            constant(f"{name}.scale", scale.astype(np.float32)),
            "",
            constant(f"{name}.bias", weights[f"{name}.bias"]),
        ]
        return node("DynamicQuantizeMatMul", inputs, f"{name}.out")

    def added(x: str, skip: str, name: str) -> str:
        """The layer norm of x + skip."""
        inputs = [x, skip, constant(f"{name}.weight", weights[f"{name}.weight"]), constant(f"{name}.bias", weights[f"{name}.bias"])]
        return node("SkipLayerNormalization", inputs, f"{name}.out", epsilon=_EPSILON)

    hidden = "hidden"
    for layer in range(LAYERS):
        query, key, value = (dense(hidden, f"{layer}.attention.self.{name}") for name in ("query", "key", "value"))
        seen = node("MultiHeadAttention", [query, key, value], f"{layer}.seen", num_heads=_HEADS)
        hidden = added(dense(seen, f"{layer}.attention.output.dense"), hidden, f"{layer}.attention.output.LayerNorm")
        wide = node("Gelu", [dense(hidden, f"{layer}.intermediate.dense")], f"{layer}.wide")
        hidden = added(dense(wide, f"{layer}.output.dense"), hidden, f"{layer}.output.LayerNorm")
    product = node("MatMul", [hidden, constant("head.matrix", weights["head.weight"].T)], "product", domain="")
    node("Add", [product, constant("head.bias", weights["head.bias"])], "scores", domain="")
    size, tags = weights["head.weight"].shape[1], weights["head.weight"].shape[0]
    graph = helper.make_graph(
        nodes,
        "recogniser",
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, "tokens", size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, "tokens", tags])],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_CONTRIB, 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
