"""The matrix products of a training step, found in its graph, and the same products run by themselves.

They are the part of a step that no rearrangement of the program can remove, so their time is what
`lapo_tf.benchmark` holds the whole step against.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

PRODUCTS = {
    "MatMul": ("transpose_a", "transpose_b"),
    "BatchMatMulV2": ("adj_x", "adj_y"),
    "BatchMatMulV3": ("adj_x", "adj_y"),
}
UNCOUNTED = ("BatchMatMul", "Einsum", "Conv2D", "SparseMatMul", "_FusedMatMul")


@dataclass(frozen=True)
class Product:
    """One matrix product: the operands' shapes as they lie in memory, and which of them are read transposed."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    transpose_left: bool = False
    transpose_right: bool = False

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        rows, inner = self.left[-2:][:: -1 if self.transpose_left else 1]
        columns = self.right[-2 if self.transpose_right else -1]
        return 2 * math.prod(np.broadcast_shapes(self.left[:-2], self.right[:-2])) * rows * inner * columns


def graph_products(graph: Any) -> list[Product]:
    """The products that a function's graph really computes, with those of the functions it calls.

    A tape records gradients that nobody asks for, such as those of frozen weights; TensorFlow and XLA both prune them,
    so an op counts only if an output or a side effect (`control_outputs`: assignments) depends on it. A function that
    is called counts whole, the body of a while-loop once and all branches of a conditional.

    Raises:
        ValueError: an op that multiplies matrices but that this function cannot count, or an unknown shape.
    """
    live, todo = set(), [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    while todo:
        op = todo.pop()
        if op.name not in live:
            live.add(op.name)
            todo += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    found = []
    for op in graph.get_operations():
        if op.name not in live:
            continue
        if op.type in UNCOUNTED:
            raise ValueError(f"cannot count the products of {op.type} '{op.name}'")
        if op.type in PRODUCTS:
            left, right = (tuple(tensor.shape.as_list()) for tensor in op.inputs)  # raises if a shape is unknown
            found.append(Product(left, right, *map(op.get_attr, PRODUCTS[op.type])))
        for attribute in op.node_def.attr.values():
            for function in [attribute.func, *attribute.list.func]:
                if function.name:
                    found += graph_products(graph._get_function(function.name).graph)
    return found


class ProductLoop(tf.Module):
    """Runs a list of products many times, on fixed random float32 operands and with nothing else in the loop.

    So that the compiler can neither drop, nor merge, nor hoist them:

    - one element of every result, at a row that changes with the iteration, is added to the sum that the loop returns;
    - no two products of one shape have the same pair of operands. They come from a small pool, n left and n right ones
      for n^2 products, as in the step, where an operand was mostly written just before and lies in a cache;
    - under XLA one element of every left operand is written anew in each iteration, in place. In graph mode nothing is
      hoisted out of a loop that reads variables, and writing would copy the operand.

    On a GPU every product has its own operands, because there XLA merges products that share one.
    """

    def __init__(self, products: list[Product], *, xla: bool, shared_operands: bool = True) -> None:
        super().__init__(name="product_loop")
        random = np.random.default_rng(0)
        self._lefts: list[tf.Variable] = []
        self._rights: list[tf.Variable] = []
        self._pairs: list[tuple[tf.Variable, tf.Variable, Product]] = []

        def operands(shape: tuple[int, ...], count: int) -> list[tf.Variable]:
            values = (random.standard_normal(shape, np.float32) for _ in range(count))
            return [tf.Variable(tf.constant(value), trainable=False) for value in values]

        for product, count in Counter(products).items():
            pool = math.ceil(math.sqrt(count)) if shared_operands else count
            lefts, rights = operands(product.left, pool), operands(product.right, pool)
            self._pairs += [(lefts[i % pool], rights[(i + i // pool) % pool], product) for i in range(count)]
            self._lefts += lefts
            self._rights += rights
        self._xla = xla
        self._run = tf.function(self._loop, jit_compile=xla)

    def run(self, steps: int) -> float:
        """Do all products `steps` times; returns when they are done, with their checksum."""
        return float(self._run(tf.constant(steps, tf.int64)).numpy())

    def _loop(self, steps: tf.Tensor) -> tf.Tensor:
        def body(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if self._xla:
                for left in self._lefts:
                    left.scatter_nd_update([[0] * len(left.shape)], tf.cast(i, tf.float32)[None] * 1e-3)
            corners = []
            for left, right, product in self._pairs:
                result = tf.matmul(left, right, product.transpose_left, product.transpose_right)
                result = tf.reshape(result, [-1, result.shape[-1]])
                corners.append(result[tf.math.floormod(i, tf.shape(result, tf.int64)[0]), 0])
            return i + 1, total + tf.add_n(corners)

        state = tf.constant(0, tf.int64), tf.constant(0.0)
        return tf.while_loop(lambda i, _: i < steps, body, state, parallel_iterations=1)[1]
