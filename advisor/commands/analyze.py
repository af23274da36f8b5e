"""`advisor analyze`: what a network holds and does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from advisor.commands.options import big, input_option, json_option, model_argument, shape_text, table

if TYPE_CHECKING:
    from advisor.network import Network


@click.command()
@model_argument
@input_option
@click.option("--cross-check", is_flag=True, help="Set fvcore's and torch's own counters beside ours.")
@json_option
def analyze(model: str, input_text: str | None, cross_check: bool) -> tuple[dict[str, Any], str]:
    """Count parameters, MACs and activations of MODEL, layer by layer.

    \b
    Examples
      advisor analyze torchvision:resnet50
      advisor analyze timm:vit_tiny_patch16_224 --input 8x3x224x224 --json
      advisor analyze my_net.py:build --cross-check
    """
    from dataclasses import asdict

    from advisor.commands.network import open_network
    from advisor.devices.here import kernels_here

    network = open_network(model, input_text)
    document, text = network_document(network), network_text(network)
    kernels = kernels_here()
    document["kernels"] = asdict(kernels)
    text += f"\n{kernels.text()}"
    if cross_check:
        from advisor.counting.crosscheck import cross_check as compare

        check = compare(network)
        document["cross_check"] = check.to_json()
        text += "\n\n" + check.to_text()
    return document, text


def network_document(network: Network) -> dict[str, Any]:
    """The JSON keys of the contract."""
    return {
        "model": network.name,
        "input": [list(shape) for shape in network.input_shapes],
        "origin": network.origin,
        "params": network.params,
        "unreached_params": network.unreached_params,
        "macs": network.macs,
        "activation_elements": network.activation_elements,
        "peak_activation_bytes": network.peak_activation_bytes,
        "weight_bytes": network.weight_bytes,
        "unsupported_ops": dict(network.unsupported_ops),
        "ignored_ops": dict(network.ignored_ops),
        "notes": list(network.notes),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "params": layer.params,
                "macs": layer.macs,
                "activation_elements": layer.activation_elements,
                "calls": len(layer.calls),
                "input_shape": list(layer.input_shape),
                "output_shape": list(layer.output_shape),
            }
            for layer in network.layers
        ],
    }


def network_text(network: Network) -> str:
    rows = [
        [
            layer.name,
            layer.kind,
            shape_text(layer.input_shape),
            shape_text(layer.output_shape),
            f"{layer.params:,}",
            f"{layer.macs:,}",
        ]
        for layer in network.layers
    ]
    lines = [
        table(["layer", "kind", "input", "output", "params", "MACs"], rows, right=(4, 5)),
        "",
        f"{network.name}  input {', '.join(shape_text(shape) for shape in network.input_shapes)}",
        f"parameters         {network.params:>16,}  ({big(network.params)})",
        f"MACs               {network.macs:>16,}  ({big(network.macs)})",
        f"activations        {network.activation_elements:>16,}  elements written by convolutions and matrix products",
        f"peak activations   {network.peak_activation_bytes:>16,}  bytes",
        f"weights            {network.weight_bytes:>16,}  bytes, parameters and buffers",
    ]
    if network.unreached_params:
        lines.append(f"not reached        {network.unreached_params:>16,}  parameters that this run did not touch")
    if network.unsupported_ops:
        counted = ", ".join(f"{name} x{count}" for name, count in network.unsupported_ops.items())
        lines.append(f"NOT COUNTED: {counted}")
    lines += [f"note: {note}" for note in network.notes]
    return "\n".join(lines)
